//! What each thread owns: its number, which selects its shard, and a block of ids.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads take ids in blocks, so that they seldom write the shared counter.
const BLOCK: u64 = 1_024;

struct Mine {
    number: usize,
    next_id: Cell<u64>,
    block_end: Cell<u64>,
}

thread_local! {
    static MINE: Mine = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        Mine {
            number: THREADS.fetch_add(1, Ordering::Relaxed),
            next_id: Cell::new(0),
            block_end: Cell::new(0),
        }
    };
}

/// The number of the calling thread, from 0; 0 for a thread that is ending.
#[inline]
pub(crate) fn number() -> usize {
    MINE.try_with(|mine| mine.number).unwrap_or(0)
}

/// An id that nothing else in this process has. Never 0.
#[inline]
pub(crate) fn next_id() -> u64 {
    static BLOCKS: AtomicU64 = AtomicU64::new(1);
    MINE.try_with(|mine| {
        let mut id = mine.next_id.get();
        if id == mine.block_end.get() {
            id = BLOCKS.fetch_add(BLOCK, Ordering::Relaxed);
            mine.block_end.set(id + BLOCK);
        }
        mine.next_id.set(id + 1);
        id
    })
    // The thread is ending: this one id takes a whole block.
    .unwrap_or_else(|_| BLOCKS.fetch_add(BLOCK, Ordering::Relaxed))
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

    #[test]
    fn a_thread_keeps_its_number_and_shares_it_with_nobody() {
        let here = number();
        assert_eq!(number(), here);
        assert_ne!(std::thread::spawn(number).join().unwrap(), here);
    }
}
