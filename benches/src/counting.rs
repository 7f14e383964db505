//! Where callgrind collects.
//!
//! `scripts/bench` names these functions to `--toggle-collect`: collection is off at the start, and each
//! function switches it while the function runs. So neither may be inlined, or end in a jump.

use std::hint::black_box;

/// Runs what a stack is charged for.
#[inline(never)]
pub(crate) fn counted<T>(run: impl FnOnce() -> T) -> T {
    let done = run();
    black_box(&done);
    done
}

/// Runs what a stack is not charged for, inside of [`counted`].
#[inline(never)]
pub(crate) fn uncounted<T>(run: impl FnOnce() -> T) -> T {
    let done = run();
    black_box(&done);
    done
}
