//! Where the layer that watches requests is missing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Whether requests reach the layer, over all connections. Written at most once for each.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    any: AtomicBool,
    ended_unwatched: AtomicU64,
}

/// Whether those of one connection do.
#[derive(Debug, Default)]
pub(crate) struct ConnectionWatched {
    /// The layer has had a request.
    any: AtomicBool,
    /// A request was answered while that was not so. One that is cancelled on its way to
    /// the layer does not count.
    answered_before: AtomicBool,
}

impl Watched {
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

impl ConnectionWatched {
    #[inline]
    pub(crate) fn set(&self, all: &Watched) {
        if self.any.load(Ordering::Relaxed) {
            return;
        }
        self.any.store(true, Ordering::Relaxed);
        if !all.any() {
            all.any.store(true, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn note_answer(&self) {
        if !self.any.load(Ordering::Relaxed) {
            self.answered_before.store(true, Ordering::Relaxed);
        }
    }

    /// Whether requests were answered and the layer has had none.
    pub(crate) fn is_missing(&self) -> bool {
        self.answered_before.load(Ordering::Relaxed) && !self.any.load(Ordering::Relaxed)
    }
}
