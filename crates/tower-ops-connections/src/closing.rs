//! When a connection that is to be closed may go.
//!
//! Only an answer can say `Connection: close`. A client of HTTP/1 that is between two
//! requests has not heard of the close, and its next request would be lost: it is
//! waited for, and closed when none came. HTTP/2 has GOAWAY, which it can be sent at
//! any time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::clock::after;
use crate::record::Record;
use crate::state::Seen;
use crate::{CloseReason, Protocol};

/// What is next for a connection, as the task that closes it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is open, or something has to end first.
    Wait,
    /// It is closed when it has been without a request for so long.
    Linger(Duration),
    /// Its end may begin.
    Close,
}

impl Record {
    /// `has_goaway`: if this is HTTP/2, GOAWAY can be sent.
    pub(crate) fn next_of_close(&self, has_goaway: bool) -> Next {
        let seen = self.state.seen();
        let Some(reason) = seen.reason() else {
            return Next::Wait;
        };
        if seen.is_forced() || reason.is_abrupt() {
            return Next::Close;
        }
        match self.protocol() {
            // Whoever waits for `closing()` has the grace to end it.
            Protocol::Upgraded => Next::Wait,
            // A client that has only just connected may have sent its first request.
            Protocol::Http2 if has_goaway => {
                if reason == CloseReason::Idle || self.exchanges() > 0 {
                    Next::Close
                } else {
                    Next::Linger(self.linger(reason))
                }
            }
            Protocol::Unknown | Protocol::Http1 | Protocol::Http2 => {
                if seen.is_busy() || self.head_begun().is_some() {
                    Next::Wait
                } else if reason == CloseReason::Idle {
                    Next::Close
                } else {
                    Next::Linger(self.linger(reason))
                }
            }
        }
    }

    fn linger(&self, reason: CloseReason) -> Duration {
        let limits = &self.shared.limits;
        if reason == CloseReason::Drain || self.shared.is_draining() {
            limits.linger.min(limits.grace)
        } else {
            limits.grace
        }
    }

    /// Whether nothing is lost if it is closed now, but for a request that may be on
    /// its way.
    pub(crate) fn lingers(&self) -> bool {
        matches!(self.next_of_close(false), Next::Linger(_))
            && self.protocol() != Protocol::Http2
            && !self.is_write_blocked()
    }

    /// Since when the grace of a connection counts that is being closed.
    pub(crate) fn grace_since(&self, seen: Seen) -> Duration {
        let hears_of_it = matches!(self.protocol(), Protocol::Unknown | Protocol::Http1);
        if hears_of_it && !seen.is_busy() {
            // It was not told if the last answer had begun before.
            self.closing_since().max(self.idle_since())
        } else {
            self.closing_since()
        }
    }
}

/// Waits for one more request. Kept by the task that closes the connection; takes
/// room only while it waits.
#[derive(Default)]
pub(crate) struct Linger(Option<Pin<Box<Sleep>>>);

impl Linger {
    /// Ready when there was none for `limit`. May become shorter on the way.
    pub(crate) fn poll(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        if limit.is_zero() {
            return Poll::Ready(());
        }
        let until = after(Instant::now(), limit);
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if until < sleep.deadline() {
            sleep.as_mut().reset(until);
        }
        sleep.as_mut().poll(cx)
    }

    /// There is a request, or no close any more: the next wait begins anew.
    pub(crate) fn stop(&mut self) {
        self.0 = None;
    }
}
