//! Whether a connection waits for its peer, and for too long.
//!
//! Whoever waits says when it begins and ceases to, with plain stores; the reaper
//! judges. All times are in microseconds, and none of them is zero.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{from_micros, micros};

#[cfg(test)]
mod tests;

/// A handler waits for a request's body.
///
/// Any byte that comes begins the wait anew: a body that trickles is innocent as long
/// as it never pauses for the limit.
#[derive(Debug, Default)]
pub(crate) struct BodyWait {
    /// When the wait began, or the last byte came in it; zero if nobody waits.
    since: AtomicU64,
    /// How much had come by then.
    mark: AtomicU64,
}

impl BodyWait {
    /// Does nothing if the wait has begun: who asks again has waited since.
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
            // Unless it has just ended, or another one has begun.
            let now = micros(now).max(since);
            let _ = self
                .since
                .compare_exchange(since, now, Ordering::Relaxed, Ordering::Relaxed);
            return false;
        }
        now.saturating_sub(from_micros(since)) >= limit
    }
}

/// What was written waits for its reader.
///
/// A trickle interrupts the wait again and again, and only for a moment: the window
/// goes on over that. After a pause without a wait, the next one begins a window of its
/// own.
#[derive(Debug, Default)]
pub(crate) struct WriteWait {
    /// [`WAITING`], or when the last wait ended.
    resumed: AtomicU64,
    /// When the window began; zero if there is none.
    since: AtomicU64,
    /// How much had moved by then.
    mark: AtomicU64,
}

const WAITING: u64 = u64::MAX;

impl WriteWait {
    pub(crate) fn is_waiting(&self) -> bool {
        self.resumed.load(Ordering::Relaxed) == WAITING
    }

    /// A wait that begins more than `moment` after the last one is a new one.
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

    /// What comes now is about something else. A wait that goes on is not forgotten.
    pub(crate) fn restart(&self) {
        if !self.is_waiting() && self.since.load(Ordering::Relaxed) != 0 {
            self.since.store(0, Ordering::Relaxed);
        }
    }

    /// When the window began, if there is one.
    pub(crate) fn since(&self) -> Option<Duration> {
        some(&self.since)
    }

    /// `enough` is what a reader takes in a window that is slow, and not stalled.
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
