use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tower_ops_core::sync::Mutex;

/// How much of a request's body came, and how it ended. The wrapper of the body
/// writes it, the exchange reads it.
pub(crate) struct RequestProgress {
    read: AtomicU64,
    broken: AtomicBool,
    end: Mutex<End>,
}

enum End {
    /// More may come. Whoever wants to know of the end is called then.
    Ahead(Vec<Box<dyn FnOnce(u64) + Send>>),
    Reached,
}

impl RequestProgress {
    pub(crate) const fn new() -> Self {
        Self {
            read: AtomicU64::new(0),
            broken: AtomicBool::new(false),
            end: Mutex::new(End::Ahead(Vec::new())),
        }
    }

    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Whether the peer left, or broke the framing, before the body's end.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(*self.end.lock(), End::Reached)
    }

    /// Calls `record` with the size once nothing more can come: at once, if that
    /// is so.
    pub(crate) fn at_end(&self, record: impl FnOnce(u64) + Send + 'static) {
        let mut end = self.end.lock();
        match &mut *end {
            End::Ahead(waiting) => waiting.push(Box::new(record)),
            End::Reached => {
                drop(end);
                record(self.read());
            }
        }
    }

    pub(super) fn add(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn break_off(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    pub(super) fn finish(&self) {
        let before = std::mem::replace(&mut *self.end.lock(), End::Reached);
        if let End::Ahead(waiting) = before {
            for record in waiting {
                record(self.read());
            }
        }
    }
}

impl fmt::Debug for RequestProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestProgress")
            .field("read", &self.read())
            .field("broken", &self.is_broken())
            .finish_non_exhaustive()
    }
}
