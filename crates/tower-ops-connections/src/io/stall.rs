//! How long a connection has waited for its peer.
//!
//! The waiting task records when a wait begins and ends, with plain stores; the reaper judges. All
//! times are in microseconds, and none of them is zero.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{from_micros, micros};

#[cfg(test)]
mod tests;

/// A handler waits for a request body.
///
/// Each byte restarts the wait: a body that trickles is fine as long as it never pauses for the
/// limit.
#[derive(Debug, Default)]
pub(crate) struct BodyWait {
    /// When the wait began, or the last byte in it came; zero if nobody waits.
    since: AtomicU64,
    /// How many bytes had come by then.
    mark: AtomicU64,
}

impl BodyWait {
    /// Does nothing if the wait has begun: a handler that polls again has waited since.
    pub(crate) fn begin(&self, now: u64, moved: u64) {
        if self.since.load(Ordering::Relaxed) == 0 {
            self.mark.store(moved, Ordering::Relaxed);
            self.since.store(now, Ordering::Relaxed);
        }
    }

    pub(crate) fn end(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    pub(crate) fn since(&self) -> Option<Duration> {
        some(&self.since)
    }

    pub(crate) fn is_stalled(&self, now: Duration, limit: Duration, moved: u64) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        if since == 0 {
            return false;
        }
        if moved != self.mark.load(Ordering::Relaxed) {
            self.mark.store(moved, Ordering::Relaxed);
            // Unless the wait has just ended, or another one has begun.
            let now = micros(now).max(since);
            let _ = self
                .since
                .compare_exchange(since, now, Ordering::Relaxed, Ordering::Relaxed);
            return false;
        }
        now.saturating_sub(from_micros(since)) >= limit
    }
}

/// Written bytes wait for their reader.
///
/// A client that reads slowly interrupts the wait again and again, for a moment: the window goes on.
/// After a longer pause, the next wait begins a window of its own.
#[derive(Debug, Default)]
pub(crate) struct WriteWait {
    /// [`WAITING`], or when the last wait ended.
    resumed: AtomicU64,
    /// When the window began; zero if there is none.
    since: AtomicU64,
    /// How many bytes had moved by then.
    mark: AtomicU64,
}

const WAITING: u64 = u64::MAX;

impl WriteWait {
    pub(crate) fn is_waiting(&self) -> bool {
        self.resumed.load(Ordering::Relaxed) == WAITING
    }

    /// Begins a wait; more than `moment` after the last one, also a window.
    pub(crate) fn wait(&self, now: u64, moved: u64, moment: u64) {
        let resumed = self.resumed.load(Ordering::Relaxed);
        if resumed == WAITING {
            return;
        }
        let paused = now.saturating_sub(resumed) > moment;
        if paused || self.since.load(Ordering::Relaxed) == 0 {
            self.mark.store(moved, Ordering::Relaxed);
            self.since.store(now, Ordering::Relaxed);
        }
        self.resumed.store(WAITING, Ordering::Relaxed);
    }

    pub(crate) fn resume(&self, now: u64) {
        if self.is_waiting() {
            self.resumed.store(now, Ordering::Relaxed);
        }
    }

    /// Ends the window, unless a wait goes on: a new exchange begins.
    pub(crate) fn restart(&self) {
        if !self.is_waiting() && self.since.load(Ordering::Relaxed) != 0 {
            self.since.store(0, Ordering::Relaxed);
        }
    }

    /// Returns when the window began, if there is one.
    pub(crate) fn since(&self) -> Option<Duration> {
        some(&self.since)
    }

    /// `enough` is how many bytes a reader takes in a window if it is slow, but not stalled.
    pub(crate) fn is_stalled(
        &self,
        now: Duration,
        limit: Duration,
        moved: u64,
        enough: u64,
    ) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        if since == 0 || now.saturating_sub(from_micros(since)) < limit {
            return false;
        }
        let progress = moved.saturating_sub(self.mark.load(Ordering::Relaxed));
        if self.is_waiting() && progress < enough {
            return true;
        }
        // The next window begins now, or with the next wait.
        self.mark.store(moved, Ordering::Relaxed);
        let next = if self.is_waiting() {
            micros(now).max(1)
        } else {
            0
        };
        self.since.store(next, Ordering::Relaxed);
        false
    }
}

fn some(time: &AtomicU64) -> Option<Duration> {
    let time = time.load(Ordering::Relaxed);
    (time != 0).then(|| from_micros(time))
}
