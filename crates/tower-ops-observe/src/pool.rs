use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Boxes that are used again, so that the state of an exchange costs no
/// allocation and can be moved as a pointer: it goes through a dozen moves on
/// its way from the call into the body.
///
/// Sharded by thread, and no thread ever waits for another: where a shard is
/// taken, or empty, or full, the allocator serves.
pub(crate) struct Pool<T> {
    shards: [Shard<T>; SHARDS],
}

/// On a cache line of its own.
#[repr(align(128))]
struct Shard<T>(Mutex<Vec<Box<T>>>);

const SHARDS: usize = 16;

/// What a shard keeps at most. More exchanges than this at once are no hot path:
/// they wait for something.
const KEPT: usize = 64;

impl<T> Pool<T> {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Shard(Mutex::new(Vec::new()))),
        }
    }

    pub(crate) fn take(&self) -> Option<Box<T>> {
        self.shard().try_lock().ok()?.pop()
    }

    /// What the box holds is kept alive with it.
    pub(crate) fn put(&self, used: Box<T>) {
        if let Ok(mut boxes) = self.shard().try_lock()
            && boxes.len() < KEPT
        {
            boxes.push(used);
        }
    }

    fn shard(&self) -> &Mutex<Vec<Box<T>>> {
        thread_local! {
            static SHARD: usize = {
                static THREADS: AtomicUsize = AtomicUsize::new(0);
                THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS
            };
        }
        &self.shards[SHARD.try_with(|shard| *shard).unwrap_or(0)].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_used_again() {
        let pool = Pool::<u32>::new();
        let used = Box::new(1);
        let at: *const u32 = &raw const *used;
        pool.put(used);
        assert!(std::ptr::eq(at, &raw const *pool.take().unwrap()));
        assert!(pool.take().is_none());
    }

    #[test]
    fn keeps_a_bounded_number() {
        let pool = Pool::<u32>::new();
        for _ in 0..10 * KEPT {
            pool.put(Box::new(1));
        }
        let kept: usize = pool
            .shards
            .iter()
            .map(|shard| shard.0.lock().unwrap().len())
            .sum();
        assert_eq!(kept, KEPT);
    }

    #[test]
    fn a_taken_shard_is_not_waited_for() {
        let pool = Pool::<u32>::new();
        let held = pool.shard().lock().unwrap();
        pool.put(Box::new(1));
        assert!(pool.take().is_none());
        assert!(held.is_empty());
    }
}
