use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{from_micros, micros};

/// Whether a peer takes, or sends, what it is waited for.
///
/// The connection's task says when it begins and ceases to wait; the reaper judges
/// by how much has moved in a window. A trickle keeps interrupting the wait, so the
/// window goes on over the interruptions.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    waiting: AtomicBool,
    /// When the window began, in microseconds; zero if there is none.
    since: AtomicU64,
    /// How much had moved by then.
    mark: AtomicU64,
}

impl Stall {
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// `now` is in microseconds, and never zero.
    pub(crate) fn wait(&self, now: u64, moved: u64) {
        if self.since.load(Ordering::Relaxed) == 0 {
            self.mark.store(moved, Ordering::Relaxed);
            self.since.store(now, Ordering::Relaxed);
        }
        self.waiting.store(true, Ordering::Relaxed);
    }

    pub(crate) fn go_on(&self) {
        self.waiting.store(false, Ordering::Relaxed);
    }

    /// When the window began, if there is one.
    pub(crate) fn since(&self) -> Option<Duration> {
        let since = self.since.load(Ordering::Relaxed);
        (since != 0).then(|| from_micros(since))
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);
    const ENOUGH: u64 = 2_400;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_peer_that_stops_is_stalled_after_the_limit() {
        let stall = Stall::default();
        stall.wait(micros(at(1)), 100);
        assert!(!stall.is_stalled(at(10), LIMIT, 100, ENOUGH));
        assert!(stall.is_stalled(at(11), LIMIT, 100, ENOUGH));
    }

    #[test]
    fn a_trickle_is_a_stall_as_well() {
        let stall = Stall::default();
        for second in 1..=10 {
            stall.wait(micros(at(second)), second * 5);
            stall.go_on();
            stall.wait(micros(at(second)), second * 5);
            assert!(!stall.is_stalled(at(second), LIMIT, second * 5, ENOUGH));
        }
        assert!(stall.is_stalled(at(11), LIMIT, 55, ENOUGH));
    }

    #[test]
    fn who_moves_enough_or_is_not_waited_for_is_left_alone() {
        let stall = Stall::default();
        for second in (1..100).step_by(10) {
            stall.wait(micros(at(second)), second * 1_000);
            assert!(!stall.is_stalled(at(second + 10), LIMIT, (second + 10) * 1_000, ENOUGH));
        }
        stall.go_on();
        assert!(!stall.is_stalled(at(200), LIMIT, 0, ENOUGH));
        assert!(!stall.is_stalled(at(300), LIMIT, 0, ENOUGH));
    }
}
