//! Finds out whether the layer that watches requests is missing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Whether requests of any connection reach the layer. Written at most once for each connection.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    any: AtomicBool,
    ended_unwatched: AtomicU64,
}

/// Whether requests of one connection reach the layer.
#[derive(Debug, Default)]
pub(crate) struct ConnectionWatched {
    /// A request has reached the layer.
    any: AtomicBool,
    /// A request was answered before. One that is cancelled on its way to the layer does not count.
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

    /// Returns whether requests were answered and none has reached the layer.
    pub(crate) fn is_missing(&self) -> bool {
        self.answered_before.load(Ordering::Relaxed) && !self.any.load(Ordering::Relaxed)
    }
}
