//! The events of connections, and who publishes them in which order.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_ops_core::panic::catch;

use crate::close::sync::{AtomicU32, Ordering};
use crate::{CloseReason, Connection, Peer};

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectReason {
    /// `max_connections` are open.
    MaxConnections,
    /// The address has `max_per_ip` connections.
    MaxPerIp,
}

impl RejectReason {
    /// Every reason.
    pub const ALL: [Self; 2] = [Self::MaxConnections, Self::MaxPerIp];

    /// Returns the label of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxConnections => "max_connections",
            Self::MaxPerIp => "max_per_ip",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MaxConnections => "the maximum number of connections is open",
            Self::MaxPerIp => "the address has the maximum number of connections",
        })
    }
}

impl Error for RejectReason {}

/// An event of a connection, for [`on_event`](crate::ConnectionsBuilder::on_event).
///
/// `Opened` is the first event of a connection and `Closed` the last. A response may outlive its
/// connection; it publishes nothing then.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectionEvent<'a> {
    /// The connection was accepted.
    Opened(&'a Connection),
    /// The protocol is known, or has changed after an upgrade.
    Protocol(&'a Connection),
    /// An exchange began when none was in flight.
    Busy(&'a Connection),
    /// The last exchange in flight ended; on HTTP/2 also the last stream on the wire.
    Idle(&'a Connection),
    /// A close was requested.
    Closing(&'a Connection, CloseReason),
    /// The connection is closed.
    #[non_exhaustive]
    Closed {
        /// The connection.
        connection: &'a Connection,
        /// Why it was closed.
        reason: CloseReason,
        /// How long it was open.
        age: Duration,
    },
    /// A client was refused.
    Rejected(Peer, RejectReason),
}

pub(crate) type OnEvent = Arc<dyn Fn(&ConnectionEvent<'_>) + Send + Sync>;

/// Publishes events to the callback, if there is one.
pub(crate) struct Events(pub(crate) Option<OnEvent>);

impl Events {
    #[inline]
    pub(crate) const fn are_published(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn rejected(&self, peer: Peer, reason: RejectReason) {
        self.call(|| ConnectionEvent::Rejected(peer, reason));
    }

    /// Publishes an event of a connection, unless that has published `Closed`.
    pub(crate) fn publish<'a>(
        &self,
        connection: &'a Connection,
        event: impl FnOnce(&'a Connection) -> ConnectionEvent<'a>,
    ) {
        let gate = &connection.record.events;
        if self.are_published() && gate.enter() {
            self.call(|| event(connection));
            if gate.leave() {
                self.call_closed(connection);
            }
        }
    }

    /// Publishes `Closed`, now or when the last event that is being published has been.
    pub(crate) fn close(&self, connection: &Connection) {
        if self.are_published() && connection.record.events.close() {
            self.call_closed(connection);
        }
    }

    fn call_closed(&self, connection: &Connection) {
        self.call(|| ConnectionEvent::Closed {
            connection,
            reason: connection.close_reason().unwrap_or(CloseReason::Error),
            age: connection.age(),
        });
    }

    fn call<'a>(&self, event: impl FnOnce() -> ConnectionEvent<'a>) {
        let Some(on_event) = &self.0 else {
            return;
        };
        let event = event();
        if catch(|| on_event(&event)).is_err() {
            tracing::error!("the callback for connection events panicked");
        }
    }
}

const CLOSED: u32 = 1 << 31;

/// Orders the events of one connection: none is published after its `Closed`, whichever threads
/// publish them.
///
/// A publisher enters and leaves. `Closed` is published by the thread that closes the gate or, if
/// there are publishers inside, by the last one to leave. It is no lock, since a callback may close
/// the connection whose event it handles.
#[derive(Default)]
pub(crate) struct EventGate(AtomicU32);

impl EventGate {
    /// Returns `false` if the gate is closed. Otherwise call [`leave`](Self::leave).
    pub(crate) fn enter(&self) -> bool {
        let entered = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (word & CLOSED == 0).then_some(word + 1)
            });
        entered.is_ok()
    }

    /// Returns whether the caller has to publish `Closed`.
    #[must_use]
    pub(crate) fn leave(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == CLOSED | 1
    }

    /// Returns whether the caller has to publish `Closed`.
    #[must_use]
    pub(crate) fn close(&self) -> bool {
        self.0.fetch_or(CLOSED, Ordering::AcqRel) == 0
    }
}
