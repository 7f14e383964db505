use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Whether requests reach the layer that watches them. Written at most once for each connection.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    any: AtomicBool,
    ended_unwatched: AtomicU64,
}

impl Watched {
    pub(crate) fn set(&self) {
        if !self.any.load(Ordering::Relaxed) {
            self.any.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    pub(crate) fn count_unwatched(&self) {
        self.ended_unwatched.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ended_unwatched(&self) -> u64 {
        self.ended_unwatched.load(Ordering::Relaxed)
    }
}
