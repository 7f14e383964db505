//! The state of one connection in one word: how many exchanges are in flight, and
//! whether, why and how far it is being closed.
//!
//! One word, because the two decide on each other: a connection may be closed for
//! idleness only while nothing is in flight, and what begins before the close
//! was carried out takes it back.

use crate::CloseReason;
use crate::sync::{AtomicU64, Ordering};

const BUSY: u64 = 0xffff_ffff;
const REASON_SHIFT: u32 = 32;
const REASON: u64 = 0xff << REASON_SHIFT;
/// The close is being carried out: no request takes it back any more.
const COMMITTED: u64 = 1 << 40;
/// The time to end in order is over.
const FORCED: u64 = 1 << 41;

#[derive(Debug, Default)]
pub(crate) struct State(AtomicU64);

/// What a state word said at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Seen(u64);

impl Seen {
    pub(crate) const fn in_flight(self) -> u32 {
        (self.0 & BUSY) as u32
    }

    pub(crate) const fn is_busy(self) -> bool {
        self.0 & BUSY != 0
    }

    pub(crate) const fn is_open(self) -> bool {
        self.0 & REASON == 0
    }

    pub(crate) fn reason(self) -> Option<CloseReason> {
        // One more than its place in the list; zero is none.
        let index = usize::try_from((self.0 & REASON) >> REASON_SHIFT).ok()?;
        CloseReason::ALL.get(index.checked_sub(1)?).copied()
    }

    pub(crate) const fn is_committed(self) -> bool {
        self.0 & COMMITTED != 0
    }

    pub(crate) const fn is_forced(self) -> bool {
        self.0 & FORCED != 0
    }

    /// Whether requesting a close may change anything.
    pub(crate) fn may_be_closed(self) -> bool {
        self.is_open() || self.is_revocable()
    }

    /// Whether a request that begins now takes the close back.
    fn is_revocable(self) -> bool {
        !self.is_committed() && self.reason() == Some(CloseReason::Idle)
    }
}

const fn bits(reason: CloseReason) -> u64 {
    (reason.index() as u64 + 1) << REASON_SHIFT
}

impl State {
    #[inline]
    pub(crate) fn seen(&self) -> Seen {
        Seen(self.0.load(Ordering::Acquire))
    }

    /// An exchange begins. What was there before it.
    #[inline]
    pub(crate) fn begin(&self) -> Seen {
        let before = Seen(self.0.fetch_add(1, Ordering::AcqRel));
        if before.is_revocable() {
            self.revoke();
        }
        before
    }

    /// An exchange is over. What is left.
    #[inline]
    pub(crate) fn end(&self) -> Seen {
        Seen(self.0.fetch_sub(1, Ordering::AcqRel) - 1)
    }

    /// Takes back a close for idleness that was not carried out yet.
    pub(crate) fn revoke(&self) {
        self.update(|seen| seen.is_revocable().then_some(seen.0 & !REASON));
    }

    /// Asks for a close because nothing is in flight; only if that is so.
    pub(crate) fn close_idle(&self) -> bool {
        self.update(|seen| {
            (!seen.is_busy() && seen.is_open()).then_some(seen.0 | bits(CloseReason::Idle))
        })
    }

    /// Asks for a close, whatever is in flight. Whether this was the first to ask.
    pub(crate) fn close(&self, reason: CloseReason) -> bool {
        self.update(|seen| {
            // An idle close that may still be taken back must not hide one that
            // may not.
            let open = seen.is_open() || (seen.is_revocable() && reason != CloseReason::Idle);
            open.then_some((seen.0 & !REASON) | bits(reason))
        })
    }

    /// Says that the close is being carried out. `false` if there is none, or not
    /// any more.
    pub(crate) fn commit(&self) -> bool {
        self.update(|seen| {
            let taken_back = seen.is_busy() && seen.is_revocable();
            let due = !seen.is_open() && !taken_back;
            due.then_some(seen.0 | COMMITTED)
        })
    }

    /// Ends the waiting for an end in order, whatever is in flight. A close that a
    /// request is about to take back does not count.
    pub(crate) fn force(&self) -> bool {
        self.update(|seen| {
            let taken_back = seen.is_busy() && seen.is_revocable();
            let due = !seen.is_open() && !seen.is_forced() && !taken_back;
            due.then_some(seen.0 | COMMITTED | FORCED)
        })
    }

    /// As [`force`](Self::force), if nothing is in flight.
    pub(crate) fn force_unless_busy(&self) -> bool {
        self.update(|seen| {
            let due = !seen.is_open() && !seen.is_forced() && !seen.is_busy();
            due.then_some(seen.0 | COMMITTED | FORCED)
        })
    }

    /// The connection broke, whatever it was closed for.
    pub(crate) fn break_off(&self) {
        self.update(|seen| Some((seen.0 & !REASON) | bits(CloseReason::Error)));
    }

    fn update(&self, change: impl Fn(Seen) -> Option<u64>) -> bool {
        let changed = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                change(Seen(word))
            });
        changed.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn an_idle_close_needs_idleness_and_a_request_takes_it_back() {
        let state = State::default();
        state.begin();
        assert!(!state.close_idle());
        state.end();
        assert!(state.close_idle());
        assert_eq!(state.seen().reason(), Some(CloseReason::Idle));
        state.begin();
        assert!(state.seen().is_open());
        assert!(!state.commit(), "there is nothing to carry out any more");
    }

    #[test]
    fn what_is_carried_out_is_not_taken_back() {
        let state = State::default();
        state.close_idle();
        assert!(state.commit());
        state.begin();
        assert_eq!(state.seen().reason(), Some(CloseReason::Idle));
        assert_eq!(state.seen().in_flight(), 1);
    }

    #[test]
    fn the_first_reason_wins_unless_it_could_be_taken_back() {
        let state = State::default();
        assert!(state.close_idle());
        assert!(state.close(CloseReason::Drain));
        assert!(!state.close(CloseReason::Manual));
        state.begin();
        assert_eq!(state.seen().reason(), Some(CloseReason::Drain));
        assert!(state.force());
        assert!(!state.force(), "once");
    }

    #[test]
    fn a_force_is_no_way_around_a_request() {
        let state = State::default();
        assert!(!state.force(), "nothing was asked for");
        state.close_idle();
        // Between the two steps in which a request begins.
        state.0.fetch_add(1, Ordering::AcqRel);
        assert!(!state.force() && !state.force_unless_busy());
        state.revoke();
        assert!(state.seen().is_open());

        assert!(state.close(CloseReason::Drain));
        assert!(!state.force_unless_busy());
        assert!(state.force(), "a deadline is one");
    }

    #[test]
    fn every_reason_survives_the_word() {
        for reason in CloseReason::ALL {
            let state = State::default();
            state.close(reason);
            assert_eq!(state.seen().reason(), Some(reason));
        }
    }

    /// The race that the word is for: whoever is first, no request is in flight
    /// on a connection whose idle close is carried out.
    #[test]
    fn a_request_and_an_idle_close_never_both_win() {
        const ROUNDS: usize = 2_000;
        for _ in 0..ROUNDS {
            let state = State::default();
            let barrier = Barrier::new(2);
            let (closed, began) = thread::scope(|scope| {
                let closer = scope.spawn(|| {
                    barrier.wait();
                    state.close_idle() && state.commit()
                });
                barrier.wait();
                let before = state.begin();
                (closer.join().unwrap(), !before.is_committed())
            });
            assert!(closed != began, "closed {closed}, began {began}");
        }
    }
}
