use std::time::Duration;

use crate::{Connection, Peer};

/// The state of a connection at one moment.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "service", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ConnectionSnapshot {
    /// Its id.
    pub id: u64,
    /// The name of its listener.
    pub listener: String,
    /// Its peer; `None` where that is hidden.
    #[cfg_attr(feature = "service", serde(serialize_with = "as_text"))]
    pub peer: Option<Peer>,
    /// Its protocol: `unknown`, `http1`, `http2` or `upgraded`.
    pub protocol: &'static str,
    /// How long it has been open.
    #[cfg_attr(
        feature = "service",
        serde(rename = "age_ms", serialize_with = "millis")
    )]
    pub age: Duration,
    /// How long nothing has been in flight.
    #[cfg_attr(
        feature = "service",
        serde(rename = "idle_ms", serialize_with = "millis")
    )]
    pub idle: Duration,
    /// How many exchanges it has had.
    pub exchanges: u64,
    /// How many exchanges are in flight.
    pub in_flight: u32,
    /// How many bytes were read.
    pub bytes_read: u64,
    /// How many bytes were written.
    pub bytes_written: u64,
    /// Why it is being closed.
    pub closing: Option<&'static str>,
}

impl ConnectionSnapshot {
    pub(crate) fn of(connection: &Connection) -> Self {
        Self {
            id: connection.id(),
            listener: connection.listener().to_owned(),
            peer: Some(connection.peer()),
            protocol: connection.protocol().as_str(),
            age: connection.age(),
            idle: connection.idle(),
            exchanges: connection.exchanges(),
            in_flight: connection.in_flight(),
            bytes_read: connection.bytes_read(),
            bytes_written: connection.bytes_written(),
            closing: connection.close_reason().map(crate::CloseReason::as_str),
        }
    }
}

#[cfg(feature = "service")]
fn millis<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(tower_ops_core::http::millis(*duration))
}

#[cfg(feature = "service")]
fn protocol<S: serde::Serializer>(protocol: &Protocol, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(protocol.as_str())
}

#[cfg(feature = "service")]
fn as_text<S: serde::Serializer>(peer: &Option<Peer>, serializer: S) -> Result<S::Ok, S::Error> {
    match peer {
        Some(peer) => serializer.collect_str(peer),
        None => serializer.serialize_none(),
    }
}
