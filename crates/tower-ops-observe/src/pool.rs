use tower_ops_core::shards::Shards;

/// Boxes that are used again, so that the state of an exchange costs no
/// allocation and can be moved as a pointer: it goes through a dozen moves on
/// its way from the call into the body.
///
/// No thread ever waits for another: where a shard is taken, or empty, or full,
/// the allocator serves.
pub(crate) struct Pool<T>(Shards<Vec<Box<T>>>);

/// What a shard keeps at most. More exchanges than this at once are no hot path:
/// they wait for something.
const KEPT: usize = 64;

impl<T> Pool<T> {
    pub(crate) fn new() -> Self {
        Self(Shards::new(Vec::new))
    }

    #[inline]
    pub(crate) fn take(&self) -> Option<Box<T>> {
        self.0.try_lock(self.0.mine())?.pop()
    }

    /// What the box holds is kept alive with it.
    #[inline]
    pub(crate) fn put(&self, used: Box<T>) {
        if let Some(mut boxes) = self.0.try_lock(self.0.mine())
            && boxes.len() < KEPT
        {
            boxes.push(used);
        }
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
        let kept: usize = pool.0.lock_all().iter().map(|boxes| boxes.len()).sum();
        assert_eq!(kept, KEPT);
    }

    #[test]
    fn a_taken_shard_is_not_waited_for() {
        let pool = Pool::<u32>::new();
        let held = pool.0.lock(pool.0.mine());
        pool.put(Box::new(1));
        assert!(pool.take().is_none());
        assert!(held.is_empty());
    }
}
