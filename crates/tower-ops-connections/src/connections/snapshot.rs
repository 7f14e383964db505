use std::time::Duration;

use crate::{CloseReason, Connection, Peer, Protocol};

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
    /// Its protocol.
    #[cfg_attr(feature = "service", serde(serialize_with = "protocol"))]
    pub protocol: Protocol,
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
    /// Why it is being closed; `None` while it is not.
    #[cfg_attr(feature = "service", serde(serialize_with = "as_text"))]
    pub closing: Option<CloseReason>,
}

impl ConnectionSnapshot {
    pub(crate) fn of(connection: &Connection) -> Self {
        Self {
            id: connection.id(),
            listener: connection.listener().to_owned(),
            peer: Some(connection.peer()),
            protocol: connection.protocol(),
            age: connection.age(),
            idle: connection.idle(),
            exchanges: connection.exchanges(),
            in_flight: connection.in_flight(),
            bytes_read: connection.bytes_read(),
            bytes_written: connection.bytes_written(),
            closing: connection.close_reason(),
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
fn as_text<T: std::fmt::Display, S: serde::Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}
