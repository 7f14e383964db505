//! The state of one connection in one word: how many exchanges are in flight, and whether it is
//! being closed, why, and how far that has come.
//!
//! It is one word because requests and closes race. A connection may be closed for idleness only
//! while nothing is in flight, and a request that begins before such a close is committed revokes
//! it. Two words could not decide that.
//!
//! ```text
//!            close_idle                  commit                  force
//!   open ───────────────▶ idle close ───────────▶ committed ───────────▶ forced
//!    ▲ │                    │     │ close(reason)     ▲                     ▲
//!    │ └── close(reason) ───│─────┴─▶ close for ──────┘                     │
//!    └────── begin ─────────┘         a reason ─────────── force ───────────┘
//! ```

use super::sync::{AtomicU64, Ordering};
use crate::CloseReason;

const IN_FLIGHT: u64 = 0xffff_ffff;
const REASON_SHIFT: u32 = 32;
const REASON: u64 = 0xff << REASON_SHIFT;
/// The close is being carried out: no request revokes it any more.
const COMMITTED: u64 = 1 << 40;
/// The connection does not wait for exchanges in flight any more.
const FORCED: u64 = 1 << 41;

/// The state of a connection, and its transitions.
#[derive(Debug, Default)]
pub(crate) struct State(AtomicU64);

/// The state at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateWord(u64);

impl StateWord {
    pub(crate) const fn in_flight(self) -> u32 {
        (self.0 & IN_FLIGHT) as u32
    }

    pub(crate) const fn is_busy(self) -> bool {
        self.0 & IN_FLIGHT != 0
    }

    pub(crate) const fn is_open(self) -> bool {
        self.0 & REASON == 0
    }

    pub(crate) fn reason(self) -> Option<CloseReason> {
        // The index in `ALL` plus one; zero is none.
        let index = usize::try_from((self.0 & REASON) >> REASON_SHIFT).ok()?;
        CloseReason::ALL.get(index.checked_sub(1)?).copied()
    }

    pub(crate) const fn is_committed(self) -> bool {
        self.0 & COMMITTED != 0
    }

    pub(crate) const fn is_forced(self) -> bool {
        self.0 & FORCED != 0
    }

    /// Returns whether a request for a close may change anything.
    pub(crate) fn may_be_closed(self) -> bool {
        self.is_open() || self.is_revocable()
    }

    /// Returns whether a request that begins now revokes the close.
    fn is_revocable(self) -> bool {
        !self.is_committed() && self.reason() == Some(CloseReason::Idle)
    }

    /// Returns whether a request has begun and is about to revoke the close: it counts itself
    /// first, and revokes in a second step.
    fn is_being_revoked(self) -> bool {
        self.is_busy() && self.is_revocable()
    }
}

const fn bits(reason: CloseReason) -> u64 {
    (reason.index() as u64 + 1) << REASON_SHIFT
}

impl State {
    #[inline]
    pub(crate) fn load(&self) -> StateWord {
        StateWord(self.0.load(Ordering::Acquire))
    }

    /// Begins an exchange, and returns the state before it.
    #[inline]
    pub(crate) fn begin(&self) -> StateWord {
        let before = StateWord(self.0.fetch_add(1, Ordering::AcqRel));
        if before.is_revocable() {
            self.revoke();
        }
        before
    }

    /// Ends an exchange, and returns the state after it.
    #[inline]
    pub(crate) fn end(&self) -> StateWord {
        StateWord(self.0.fetch_sub(1, Ordering::AcqRel) - 1)
    }

    /// Revokes a close for idleness that is not committed.
    pub(crate) fn revoke(&self) {
        self.update(|word| word.is_revocable().then_some(word.0 & !REASON));
    }

    /// Requests a close for idleness, if nothing is in flight. Returns whether it did.
    pub(crate) fn close_idle(&self) -> bool {
        self.update(|word| {
            (!word.is_busy() && word.is_open()).then_some(word.0 | bits(CloseReason::Idle))
        })
    }

    /// Requests a close, whatever is in flight. Returns whether this request was the first.
    pub(crate) fn close(&self, reason: CloseReason) -> bool {
        self.update(|word| {
            // A close for idleness that may be revoked gives way to one that may not.
            let open = word.is_open() || (word.is_revocable() && reason != CloseReason::Idle);
            open.then_some((word.0 & !REASON) | bits(reason))
        })
    }

    /// Commits the close: from now on it is carried out. Returns `false` if there is none, or none
    /// any more.
    pub(crate) fn commit(&self) -> bool {
        self.update(|word| {
            let due = !word.is_open() && !word.is_being_revoked();
            due.then_some(word.0 | COMMITTED)
        })
    }

    /// Ends the wait for what is in flight. Does nothing to a close that is being revoked.
    pub(crate) fn force(&self) -> bool {
        self.update(|word| {
            let due = !word.is_open() && !word.is_forced() && !word.is_being_revoked();
            due.then_some(word.0 | COMMITTED | FORCED)
        })
    }

    /// As [`force`](Self::force), if nothing is in flight.
    pub(crate) fn force_unless_busy(&self) -> bool {
        self.update(|word| {
            let due = !word.is_open() && !word.is_forced() && !word.is_busy();
            due.then_some(word.0 | COMMITTED | FORCED)
        })
    }

    /// Makes an error the reason, in place of any other.
    pub(crate) fn break_off(&self) {
        self.update(|word| Some((word.0 & !REASON) | bits(CloseReason::Error)));
    }

    fn update(&self, change: impl Fn(StateWord) -> Option<u64>) -> bool {
        let changed = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                change(StateWord(word))
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
        assert_eq!(state.load().reason(), Some(CloseReason::Idle));
        state.begin();
        assert!(state.load().is_open());
        assert!(!state.commit(), "there is nothing to carry out any more");
    }

    #[test]
    fn what_is_carried_out_is_not_taken_back() {
        let state = State::default();
        state.close_idle();
        assert!(state.commit());
        state.begin();
        assert_eq!(state.load().reason(), Some(CloseReason::Idle));
        assert_eq!(state.load().in_flight(), 1);
    }

    #[test]
    fn the_first_reason_wins_unless_it_could_be_taken_back() {
        let state = State::default();
        assert!(state.close_idle());
        assert!(state.close(CloseReason::Drain));
        assert!(!state.close(CloseReason::Manual));
        state.begin();
        assert_eq!(state.load().reason(), Some(CloseReason::Drain));
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
        assert!(state.load().is_open());

        assert!(state.close(CloseReason::Drain));
        assert!(!state.force_unless_busy());
        assert!(state.force(), "a deadline is one");
    }

    #[test]
    fn every_reason_survives_the_word() {
        for reason in CloseReason::ALL {
            let state = State::default();
            state.close(reason);
            assert_eq!(state.load().reason(), Some(reason));
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
