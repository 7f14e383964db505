use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::{CloseReason, Connection, Peer};

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectReason {
    /// There are as many connections as there may be.
    MaxConnections,
    /// The address has as many connections as one may have.
    MaxPerIp,
}

impl RejectReason {
    /// Every reason.
    pub const ALL: [Self; 2] = [Self::MaxConnections, Self::MaxPerIp];

    /// The reason as metrics name it.
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
            Self::MaxConnections => "there are as many connections as there may be",
            Self::MaxPerIp => "the address has as many connections as one may have",
        })
    }
}

impl Error for RejectReason {}

/// What happened to a connection, for
/// [`on_event`](crate::ConnectionsBuilder::on_event). `Opened` is the first of each,
/// `Closed` the last: a response may outlive its connection, and is not heard of then.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectionEvent<'a> {
    /// It was accepted.
    Opened(&'a Connection),
    /// What it speaks is known now, or has changed: after an upgrade.
    Protocol(&'a Connection),
    /// The first exchange began.
    Busy(&'a Connection),
    /// The last exchange in flight ended; on HTTP/2 also the last stream, on the wire.
    Idle(&'a Connection),
    /// It is going to be closed.
    Closing(&'a Connection, CloseReason),
    /// It is closed.
    #[non_exhaustive]
    Closed {
        /// Which.
        connection: &'a Connection,
        /// Why.
        reason: CloseReason,
        /// How long it lived.
        age: Duration,
    },
    /// A client was refused.
    Rejected(Peer, RejectReason),
}
