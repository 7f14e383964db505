use std::sync::MutexGuard;
use std::thread::available_parallelism;

use tower_ops_core::sync::Mutex;

use crate::registry::thread;

/// One `T` for every few threads, each behind a lock that is hardly ever contended.
///
/// The shard goes by the thread and not by an id: a thread finds its shard's lock in its own cache,
/// and two threads meet only if a request moved from one to the other.
pub(crate) struct Shards<T> {
    shards: Box<[Shard<T>]>,
}

/// On a cache line of its own, and its neighbour's: processors fetch two.
#[repr(align(128))]
struct Shard<T>(Mutex<T>);

impl<T> Shards<T> {
    pub(crate) fn new(mut make: impl FnMut() -> T) -> Self {
        Self {
            shards: (0..count()).map(|_| Shard(Mutex::new(make()))).collect(),
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
        self.shards[place].0.lock()
    }

    /// `None` if another thread holds the lock.
    pub(crate) fn try_lock(&self, place: usize) -> Option<MutexGuard<'_, T>> {
        self.shards[place].0.try_lock()
    }

    /// All shards at one moment. This cannot deadlock: nothing else waits for a shard's lock while
    /// it holds another, and all locks are taken in order.
    pub(crate) fn lock_all(&self) -> Vec<MutexGuard<'_, T>> {
        (0..self.len()).map(|place| self.lock(place)).collect()
    }
}

/// Twice the processors, so that a few threads more than processors seldom share a shard; a power
/// of two.
pub(crate) fn count() -> usize {
    let processors = available_parallelism().map_or(1, usize::from);
    (2 * processors).next_power_of_two().clamp(8, 64)
}
