//! The next step of a connection that is being closed.
//!
//! On HTTP/1 only a response can carry `Connection: close`. A client between two requests does not
//! know of the close, and the request that it sends next would be lost. So the server waits for one
//! more request, and closes the connection if none comes. On HTTP/2 GOAWAY can be sent at any time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::clock::after;
use crate::record::Record;
use crate::{CloseReason, Protocol};

#[cfg(test)]
mod tests;

/// What the task that closes a connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseStep {
    /// Wait: the connection is open, or something has to end first.
    Wait,
    /// Close when no request came for that long.
    Linger(Duration),
    /// Close now.
    Close,
}

impl Record {
    /// Returns the next step. `has_goaway`: if this is HTTP/2, the caller can send GOAWAY.
    pub(crate) fn close_step(&self, has_goaway: bool) -> CloseStep {
        let state = self.state.load();
        let Some(reason) = state.reason() else {
            return CloseStep::Wait;
        };
        if state.is_forced() || reason.is_abrupt() {
            return CloseStep::Close;
        }
        match self.protocol() {
            // The handler that waits for `closing()` has the grace to end it.
            Protocol::Upgraded => CloseStep::Wait,
            // A client that has just connected may have sent its first request.
            Protocol::Http2 if has_goaway => {
                let limits = &self.shared.limits;
                if reason == CloseReason::Idle || self.exchanges() > 0 {
                    CloseStep::Close
                } else {
                    // GOAWAY needs some of the grace.
                    CloseStep::Linger(limits.linger.min(limits.grace / 2))
                }
            }
            Protocol::Unknown | Protocol::Http1 | Protocol::Http2 => {
                let in_use = self.is_in_use(self.shared.clock.now());
                // hyper drops a response's body before it has written its last bytes.
                let unwritten = self.is_write_blocked() && reason != CloseReason::Idle;
                if in_use || unwritten || self.head_begun().is_some() {
                    CloseStep::Wait
                } else if reason == CloseReason::Idle {
                    CloseStep::Close
                } else {
                    CloseStep::Linger(self.linger(reason))
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

    /// Returns whether a close now would lose nothing but a request that may be on its way.
    pub(crate) fn lingers(&self) -> bool {
        matches!(self.close_step(false), CloseStep::Linger(_))
            && self.protocol() != Protocol::Http2
            && !self.is_write_blocked()
    }
}

/// The wait for one more request, in the task that closes the connection. Allocates only while it
/// waits.
#[derive(Default)]
pub(crate) struct Linger(Option<Pin<Box<Sleep>>>);

impl Linger {
    /// Ready when no request came for `limit`, which may become shorter from poll to poll.
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

    /// Ends the wait: a request has begun, or the close was revoked.
    pub(crate) fn stop(&mut self) {
        self.0 = None;
    }
}
