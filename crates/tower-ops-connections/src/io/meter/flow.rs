use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;

use super::{CONNECTION, CROWDED, LIGHT, Meter, STREAM};
use crate::Connection;

/// An exchange with several holds, which ends with the last of them. Counts how much the transport
/// holds of its response.
pub(crate) struct Flow {
    pub(crate) connection: Connection,
    held: AtomicUsize,
    /// The stream reached its bound, and waits until half of that is left.
    paused: AtomicBool,
    /// The stream may resume once, whatever its connection holds.
    granted: AtomicBool,
    /// The task of the response body.
    task: AtomicWaker,
}

impl Flow {
    /// Takes over an exchange that has begun.
    pub(crate) const fn new(connection: Connection) -> Self {
        Self {
            connection,
            held: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
            granted: AtomicBool::new(false),
            task: AtomicWaker::new(),
        }
    }

    pub(super) fn meter(&self) -> &Meter {
        self.connection.record.meter()
    }

    fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// Returns the bound of the connection below which this stream may resume.
    pub(super) fn bound(&self) -> usize {
        if self.held() < LIGHT {
            CONNECTION
        } else {
            CROWDED
        }
    }

    pub(super) fn grant(&self) {
        self.granted.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(super) fn take_grant(&self) -> bool {
        self.granted.load(Ordering::Relaxed) && self.granted.swap(false, Ordering::SeqCst)
    }

    pub(super) fn wake(&self) {
        self.task.wake();
    }

    pub(super) fn register(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
    }

    /// Pending if the `next` frame would take the stream above its bound, until half of the bound is
    /// left.
    pub(super) fn poll_paused(&self, cx: &Context<'_>, next: usize) -> Poll<()> {
        let paused = self.paused.load(Ordering::Relaxed);
        let held = self.held();
        if held < STREAM / 2 || (!paused && held + next <= STREAM) {
            if paused {
                self.paused.store(false, Ordering::Relaxed);
            }
            return Poll::Ready(());
        }
        self.task.register(cx.waker());
        // Paired with `release`, which changes `held` and then reads `paused`: one of the two finds
        // the other's change.
        self.paused.store(true, Ordering::SeqCst);
        if self.held() < STREAM / 2 {
            self.paused.store(false, Ordering::Relaxed);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    pub(super) fn add(&self, cost: usize) {
        self.held.fetch_add(cost, Ordering::SeqCst);
    }

    /// Records that the transport has written or dropped a frame.
    pub(super) fn release(&self, cost: usize, counted: usize) {
        let before = self.held.fetch_sub(cost, Ordering::SeqCst);
        let left = before - cost;
        let resumes = left < STREAM / 2 && self.paused.load(Ordering::SeqCst);
        let lightens = before >= LIGHT && left < LIGHT;
        self.meter().release(counted);
        if resumes || lightens {
            self.wake();
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.connection.end();
    }
}
