//! Random ids.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use tower_ops_observe::TraceIds;

thread_local! {
    // xoshiro256++: trace ids need to be unlike all others, not secret, and a good generator of 32
    // bytes makes one for a tenth of what a system call costs.
    static STATE: Cell<[u64; 4]> = const { Cell::new([0; 4]) };
}

/// The ids of a new trace and of its first span, with the flag that says that they are random.
#[inline]
pub(crate) fn new_trace() -> TraceIds {
    with(|state| {
        loop {
            let (high, low, span) = (next(state), next(state), next(state).max(1));
            let trace = (u128::from(high) << 64) | u128::from(low);
            if let Some(ids) = TraceIds::new(trace, span, TraceIds::RANDOM) {
                return ids;
            }
        }
    })
}

/// The id of a new span, which is not zero.
#[inline]
pub(crate) fn span() -> u64 {
    with(|state| next(state).max(1))
}

#[inline]
fn with<R>(draw: impl FnOnce(&mut [u64; 4]) -> R) -> R {
    STATE.with(|cell| {
        let mut state = cell.get();
        // The seed has a bit set there.
        if state[0] == 0 && state == [0; 4] {
            state = seed();
        }
        let result = draw(&mut state);
        cell.set(state);
        result
    })
}

/// The keys of a `RandomState` are from the operating system.
#[cold]
fn seed() -> [u64; 4] {
    let random = RandomState::new();
    let mut state = [0, 1, 2, 3].map(|word: u64| random.hash_one(word));
    state[0] |= 1;
    state
}

#[inline]
const fn next(state: &mut [u64; 4]) -> u64 {
    let [a, b, c, d] = *state;
    let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
    let (c, d) = (c ^ a, d ^ b);
    *state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
    result
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn it_is_xoshiro256_plus_plus() {
        // The first numbers of the reference implementation for this state.
        let mut state = [1, 2, 3, 4];
        let numbers = [(); 4].map(|()| next(&mut state));
        assert_eq!(
            numbers,
            [
                41_943_041,
                58_720_359,
                3_588_806_011_781_223,
                3_591_011_842_654_386
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
