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
struct Shard<T>(Mutex<Vec<Slot<T>>>);

/// `None` while it lies in the pool.
pub(crate) type Slot<T> = Box<Option<T>>;

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

    pub(crate) fn take(&self) -> Slot<T> {
        let mut shard = self.shard().try_lock().ok();
        shard
            .as_mut()
            .and_then(|slots| slots.pop())
            .unwrap_or_else(|| Box::new(None))
    }

    /// `slot` must be empty: what it holds would be kept alive with it.
    pub(crate) fn put(&self, slot: Slot<T>) {
        if let Ok(mut slots) = self.shard().try_lock()
            && slots.len() < KEPT
        {
            slots.push(slot);
        }
    }

    fn shard(&self) -> &Mutex<Vec<Slot<T>>> {
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
        let slot = pool.take();
        let at: *const Option<u32> = &raw const *slot;
        pool.put(slot);
        assert!(std::ptr::eq(at, &raw const *pool.take()));
    }

    #[test]
    fn keeps_a_bounded_number() {
        let pool = Pool::<u32>::new();
        for _ in 0..10 * KEPT {
            pool.put(Box::new(None));
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
        pool.put(pool.take());
        assert!(held.is_empty());
    }
}
