//! Parts that threads write, one for every few threads: a line of memory that all cores write costs
//! each of them more than everything else that a request does.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{MutexGuard, OnceLock};
use std::thread::available_parallelism;

use crate::sync::Mutex;

/// One `T` for every few threads, each behind a lock that is hardly ever contended.
///
/// The shard goes by the thread and not by an id: a thread finds its shard's lock in its own cache,
/// and two threads meet only if work moved from one to the other.
///
/// # Examples
///
/// ```
/// use tower_ops_core::shards::Shards;
///
/// let counts = Shards::new(|| 0);
/// *counts.lock(counts.mine()) += 1;
/// let sum: i32 = (0..counts.len()).map(|place| *counts.lock(place)).sum();
/// assert_eq!(sum, 1);
/// ```
pub struct Shards<T> {
    shards: Box<[Shard<T>]>,
}

/// On a cache line of its own, and its neighbour's: processors fetch two.
#[repr(align(128))]
struct Shard<T>(Mutex<T>);

impl<T> Shards<T> {
    /// Makes [`count`] shards.
    pub fn new(mut make: impl FnMut() -> T) -> Self {
        Self {
            shards: (0..count()).map(|_| Shard(Mutex::new(make()))).collect(),
        }
    }

    /// Returns how many there are: a power of two.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub const fn len(&self) -> usize {
        self.shards.len()
    }

    /// Returns the place of the calling thread's shard.
    #[inline]
    #[must_use]
    pub fn mine(&self) -> usize {
        mine()
    }

    /// Waits for the lock of a shard.
    #[inline]
    pub fn lock(&self, place: usize) -> MutexGuard<'_, T> {
        self.shards[place].0.lock()
    }

    /// Takes the lock of a shard; `None` if another thread holds it.
    #[inline]
    #[must_use]
    pub fn try_lock(&self, place: usize) -> Option<MutexGuard<'_, T>> {
        self.shards[place].0.try_lock()
    }

    /// Locks all shards, in order, for a view of one moment. Cannot deadlock if nothing else waits
    /// for a shard's lock while it holds another.
    #[must_use]
    pub fn lock_all(&self) -> Vec<MutexGuard<'_, T>> {
        (0..self.len()).map(|place| self.lock(place)).collect()
    }
}

impl<T> fmt::Debug for Shards<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shards")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Returns how many shards a process has: twice the processors, so that a few threads more than
/// processors seldom share one; a power of two between 8 and 64.
#[must_use]
pub fn count() -> usize {
    // The system is asked once: it reads files to answer.
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let processors = available_parallelism().map_or(1, usize::from);
        (2 * processors).next_power_of_two().clamp(8, 64)
    })
}

/// Returns the place of the calling thread's shard, less than [`count`].
#[inline]
#[must_use]
pub fn mine() -> usize {
    const UNKNOWN: usize = usize::MAX;
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(UNKNOWN) };
    }
    MINE.with(|mine| {
        if mine.get() == UNKNOWN {
            mine.set(next());
        }
        mine.get()
    })
}

/// The place for a thread that asks for the first time: they take turns.
#[cold]
fn next() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    THREADS.fetch_add(1, Ordering::Relaxed) % count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_its_place_and_others_have_others() {
        let mut places = Vec::new();
        for _ in 0..count() {
            let [place, again] = std::thread::spawn(|| [mine(), mine()]).join().unwrap();
            assert_eq!(place, again);
            places.push(place);
        }
        places.sort_unstable();
        places.dedup();
        assert!(places.len() > 1, "{places:?}");
    }

    #[test]
    fn every_thread_has_a_shard() {
        let shards = Shards::new(|| ());
        assert!(shards.len().is_power_of_two());
        for _ in 0..2 * shards.len() {
            std::thread::scope(|scope| {
                scope.spawn(|| assert!(shards.mine() < shards.len()));
            });
        }
        assert_eq!(shards.lock_all().len(), shards.len());
    }
}
