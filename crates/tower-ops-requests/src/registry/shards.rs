use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::available_parallelism;

use crate::thread;

/// One `T` for each few threads, behind locks that are hardly ever contended.
///
/// Sharded by thread and not by id: a thread finds its own shard's lock in its
/// own cache, and two threads meet only if a request moved between them.
pub(crate) struct Shards<T> {
    shards: Box<[Shard<T>]>,
}

/// On a cache line of its own, and its neighbour's: processors fetch two.
#[repr(align(128))]
struct Shard<T>(Mutex<T>);

impl<T> Shards<T> {
    pub(crate) fn new(make: impl FnMut() -> T) -> Self {
        Self::with_count(count(), make)
    }

    fn with_count(count: usize, mut make: impl FnMut() -> T) -> Self {
        Self {
            shards: (0..count).map(|_| Shard(Mutex::new(make()))).collect(),
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.shards.len()
    }

    /// The place of the calling thread's shard.
    #[inline]
    pub(crate) fn mine(&self) -> usize {
        thread::number() & (self.shards.len() - 1)
    }

    #[inline]
    pub(crate) fn lock(&self, place: usize) -> MutexGuard<'_, T> {
        // Whatever panicked while it held the lock, the counts in there are still the best there are.
        self.shards[place]
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` if somebody else has it.
    pub(crate) fn try_lock(&self, place: usize) -> Option<MutexGuard<'_, T>> {
        match self.shards[place].0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// All shards at once, for the one question that needs a single moment. Nobody who holds one
    /// shard waits for another but here, in order: this cannot deadlock.
    pub(crate) fn lock_all(&self) -> Vec<MutexGuard<'_, T>> {
        (0..self.len()).map(|place| self.lock(place)).collect()
    }
}

/// Twice the processors, so that a few threads more than them seldom share one; a power of two.
pub(crate) fn count() -> usize {
    let processors = available_parallelism().map_or(1, usize::from);
    (2 * processors).next_power_of_two().clamp(8, 64)
}
