//! The ids of records.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Threads take ids in blocks, so that they seldom write the shared counter.
const BLOCK: u64 = 1_024;

/// An id that nothing else in this process has. Never 0.
#[inline]
pub(crate) fn next_id() -> u64 {
    static BLOCKS: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        /// The next id, and the end of this thread's block.
        static BLOCK_LEFT: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    }
    let next = BLOCK_LEFT.try_with(|left| {
        let (mut id, mut end) = left.get();
        if id == end {
            id = BLOCKS.fetch_add(BLOCK, Ordering::Relaxed);
            end = id + BLOCK;
        }
        left.set((id + 1, end));
        id
    });
    // The thread is ending: this one id takes a whole block.
    next.unwrap_or_else(|_| BLOCKS.fetch_add(BLOCK, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_of_all_threads_differ_and_none_is_zero() {
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..3 * BLOCK).map(|_| next_id()).collect::<Vec<u64>>()))
            .collect();
        let ids: Vec<u64> = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        let distinct: HashSet<u64> = ids.iter().copied().collect();
        assert_eq!(distinct.len(), ids.len());
        assert!(!distinct.contains(&0));
    }
}
