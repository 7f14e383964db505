//! Random ids.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use tower_ops_observe::TraceIds;

thread_local! {
    // xoroshiro128++: trace ids need to be unlike all others, not secret, and a system call for
    // random bytes costs more than all else that is done for a trace.
    static STATE: Cell<[u64; 2]> = const { Cell::new([0; 2]) };
}

/// The ids of a new trace and of its first span, with the flag that says that they are random.
#[inline]
pub(crate) fn new_trace() -> TraceIds {
    loop {
        let ([high, low, span], next) = draw(state());
        STATE.set(next);
        let trace = (u128::from(high) << 64) | u128::from(low);
        if let Some(ids) = TraceIds::new(trace, span.max(1), TraceIds::RANDOM) {
            return ids;
        }
    }
}

/// The id of a new span, which is not zero.
#[inline]
pub(crate) fn span() -> u64 {
    let ([span], next) = draw(state());
    STATE.set(next);
    span.max(1)
}

#[inline]
fn state() -> [u64; 2] {
    match STATE.get() {
        [0, 0] => seed(),
        state => state,
    }
}

/// The keys of a `RandomState` are from the operating system.
#[cold]
fn seed() -> [u64; 2] {
    let random = RandomState::new();
    [random.hash_one(0) | 1, random.hash_one(1)]
}

#[inline]
const fn draw<const N: usize>(state: [u64; 2]) -> ([u64; N], [u64; 2]) {
    let [mut a, mut b] = state;
    let mut numbers = [0; N];
    let mut at = 0;
    while at < N {
        numbers[at] = a.wrapping_add(b).rotate_left(17).wrapping_add(a);
        b ^= a;
        a = a.rotate_left(49) ^ b ^ (b << 21);
        b = b.rotate_left(28);
        at += 1;
    }
    (numbers, [a, b])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn it_is_xoroshiro128_plus_plus() {
        // The first numbers of the reference implementation for this state.
        let (numbers, _) = draw([1, 2]);
        assert_eq!(
            numbers,
            [
                393_217,
                669_327_710_093_319,
                1_732_421_326_133_921_491,
                11_394_790_081_659_126_983
            ]
        );
    }

    #[test]
    fn threads_draw_from_different_ones() {
        let draw = || {
            (0..1_000)
                .map(|_| new_trace().trace_id())
                .collect::<HashSet<_>>()
        };
        let other = std::thread::spawn(draw).join().unwrap();
        let own = draw();
        assert_eq!(own.len(), 1_000);
        assert!(own.is_disjoint(&other));
    }

    #[test]
    fn every_bit_of_an_id_is_used() {
        let (mut set, mut unset) = (0, 0);
        for _ in 0..200 {
            let (trace, other) = (new_trace().trace_id(), span());
            assert_ne!(other, span());
            (set, unset) = (set | trace, unset | !trace);
        }
        assert_eq!((set, unset), (u128::MAX, u128::MAX));
    }
}
