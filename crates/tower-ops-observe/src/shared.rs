use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use tower_ops_core::shards;

/// A value that services and their clones share, for services that are cloned for each request.
///
/// The reference count of an `Arc` would be written by every request of every thread, beside what
/// all of them read. So a clone counts at a [`Local`] of the shard of its thread. One that lives
/// long, and is cloned by several threads, has one for each of their shards.
pub(crate) struct Shared<T> {
    local: Arc<Local<T>>,
    /// Of the shards of other threads.
    others: OnceLock<Box<[OnceLock<Arc<Local<T>>>]>>,
}

/// What the clones of one shard count at. On a cache line of its own, and its neighbour's.
#[repr(align(128))]
pub(crate) struct Local<T> {
    value: Arc<T>,
    shard: usize,
}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self::of(Local::new(Arc::new(value), shards::mine()))
    }

    const fn of(local: Arc<Local<T>>) -> Self {
        Self {
            local,
            others: OnceLock::new(),
        }
    }

    /// The value, for as long as the caller keeps this.
    #[inline]
    pub(crate) fn local(&self) -> Arc<Local<T>> {
        let shard = shards::mine();
        if self.local.shard == shard {
            return Arc::clone(&self.local);
        }
        let others = self
            .others
            .get_or_init(|| (0..shards::count()).map(|_| OnceLock::new()).collect());
        let local = others[shard].get_or_init(|| Local::new(Arc::clone(&self.local.value), shard));
        Arc::clone(local)
    }
}

impl<T> Local<T> {
    fn new(value: Arc<T>, shard: usize) -> Arc<Self> {
        Arc::new(Self { value, shard })
    }
}

impl<T> Clone for Shared<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self::of(self.local())
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.local.value
    }
}

impl<T> Deref for Local<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn clones_of_another_thread_count_elsewhere() {
        let here = Shared::new("value");
        assert!(Arc::ptr_eq(&here.local, &here.clone().local));
        thread::scope(|scope| {
            scope.spawn(|| {
                let there = here.clone();
                assert!(!Arc::ptr_eq(&here.local, &there.local));
                assert!(Arc::ptr_eq(&there.local, &here.clone().local));
                assert!(Arc::ptr_eq(&there.local, &there.local()));
                assert_eq!(*there, "value");
            });
        });
    }

    #[test]
    fn the_value_goes_with_the_last_of_all_threads() {
        let value = Arc::new(());
        let here = Shared::new(Arc::clone(&value));
        let there = thread::scope(|scope| scope.spawn(|| here.clone()).join().unwrap());
        let local = there.local();
        drop(there);
        drop(here);
        assert_eq!(Arc::strong_count(&value), 2);
        drop(local);
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
