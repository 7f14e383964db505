//! Whether a connection waits for its peer, and for too long.
//!
//! Whoever waits says when it begins and ceases to, with plain stores; the reaper
//! judges. All times are in microseconds, and none of them is zero.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{from_micros, micros};

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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);
    const ENOUGH: u64 = 2_400;
    const MOMENT: u64 = 250_000;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// What happens to a handler that waits for a body, by the second.
    enum Body {
        /// The handler polls and gets nothing.
        Polls,
        /// The handler is woken, or has what it waited for.
        Woken,
        /// So many bytes come.
        Comes(u64),
    }

    /// When the reaper, which looks once a second, calls it stalled.
    fn unsent(script: &[(u64, Body)], until: u64) -> Option<u64> {
        let wait = BodyWait::default();
        let mut moved = 0;
        (1..=until).find(|second| {
            for (_, event) in script.iter().filter(|(when, _)| when == second) {
                match event {
                    Body::Polls => wait.begin(micros(at(*second)), moved),
                    Body::Woken => wait.end(),
                    Body::Comes(bytes) => moved += bytes,
                }
            }
            wait.is_stalled(at(*second), LIMIT, moved)
        })
    }

    #[test]
    fn only_a_wait_for_the_peer_counts_and_from_its_own_beginning() {
        use Body::{Comes, Polls, Woken};

        let nobody_waits = unsent(&[(1, Comes(1))], 100);
        assert_eq!(nobody_waits, None);
        let nothing_comes = unsent(&[(3, Polls)], 100);
        assert_eq!(nothing_comes, Some(13));
        let it_came_and_the_handler_works = unsent(&[(3, Polls), (4, Comes(9)), (4, Woken)], 100);
        assert_eq!(it_came_and_the_handler_works, None);
        let asked_again_and_again: Vec<_> = (3..100).map(|second| (second, Polls)).collect();
        assert_eq!(unsent(&asked_again_and_again, 100), Some(13));
        // Part of a chunk's head, say: nobody is woken for it.
        let one_byte_and_no_more = unsent(&[(3, Polls), (9, Comes(1))], 100);
        assert_eq!(one_byte_and_no_more, Some(19));
        let a_trickle: Vec<_> = std::iter::once((1, Polls))
            .chain((1..100).step_by(9).map(|second| (second, Comes(1))))
            .collect();
        assert_eq!(unsent(&a_trickle, 100), None);
        let waits_anew = [(1, Polls), (9, Comes(9)), (9, Woken), (50, Polls)];
        assert_eq!(unsent(&waits_anew, 100), Some(60));
        let the_next_request = [
            (1, Polls),
            (9, Woken),
            (10, Polls),
            (19, Woken),
            (20, Polls),
        ];
        assert_eq!(unsent(&the_next_request, 29), None);
    }

    #[test]
    fn a_reader_that_stops_is_stalled_after_the_limit() {
        let stall = WriteWait::default();
        stall.wait(micros(at(1)), 100, MOMENT);
        assert!(!stall.is_stalled(at(10), LIMIT, 100, ENOUGH));
        assert!(stall.is_stalled(at(11), LIMIT, 100, ENOUGH));
    }

    #[test]
    fn a_trickle_is_a_stall_as_well() {
        let stall = WriteWait::default();
        for second in 1..=10 {
            stall.wait(micros(at(second)), second * 5, MOMENT);
            stall.resume(micros(at(second + 1)));
            stall.wait(micros(at(second + 1)), second * 5, MOMENT);
            assert!(!stall.is_stalled(at(second), LIMIT, second * 5, ENOUGH));
        }
        assert!(stall.is_stalled(at(11), LIMIT, 55, ENOUGH));
    }

    #[test]
    fn who_moves_enough_or_is_not_waited_for_is_left_alone() {
        let stall = WriteWait::default();
        for second in (1..100).step_by(10) {
            stall.wait(micros(at(second)), second * 1_000, MOMENT);
            assert!(!stall.is_stalled(at(second + 10), LIMIT, (second + 10) * 1_000, ENOUGH));
        }
        stall.resume(micros(at(110)));
        assert!(!stall.is_stalled(at(200), LIMIT, 0, ENOUGH));
        assert!(!stall.is_stalled(at(300), LIMIT, 0, ENOUGH));
    }

    #[test]
    fn a_wait_after_a_pause_is_judged_by_itself() {
        let stall = WriteWait::default();
        // A large response that was taken in a second.
        stall.wait(micros(at(1)), 1_000_000, MOMENT);
        stall.resume(micros(at(2)));
        // Another waits when the window of the first would be over.
        stall.wait(micros(at(10)), 1_000_100, MOMENT);
        assert!(!stall.is_stalled(at(11), LIMIT, 1_000_100, ENOUGH));
        assert!(!stall.is_stalled(at(19), LIMIT, 1_000_100, ENOUGH));
        assert!(stall.is_stalled(at(20), LIMIT, 1_000_100, ENOUGH));
    }

    #[test]
    fn the_next_response_begins_anew_unless_the_last_one_still_waits() {
        let stall = WriteWait::default();
        stall.wait(micros(at(1)), 0, MOMENT);
        stall.restart();
        assert!(stall.is_stalled(at(11), LIMIT, 0, ENOUGH));
        stall.resume(micros(at(11)));
        stall.restart();
        stall.wait(micros(at(11)), 0, MOMENT);
        assert!(!stall.is_stalled(at(12), LIMIT, 0, ENOUGH));
        assert!(stall.is_stalled(at(21), LIMIT, 0, ENOUGH));
    }
}
