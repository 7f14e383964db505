//! Connections of a server, tracked, bounded and reaped: on axum, tonic and hyper.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
#[cfg(feature = "axum")]
mod axum;
#[doc(hidden)]
#[allow(missing_docs, reason = "not part of the API")]
pub mod bench;
mod builder;
mod clock;
mod connection;
mod connections;
mod drain;
#[cfg(feature = "service")]
mod endpoint;
mod error;
mod event;
mod goaway;
mod limits;
mod metrics;
mod peer;
mod protocol;
mod reaper;
mod reason;
mod record;
mod registry;
#[cfg(feature = "hyper-util")]
mod request_body;
#[cfg(feature = "hyper-util")]
mod server;
mod service;
mod shards;
mod shared;
mod snapshot;
mod stall;
mod state;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tonic")]
mod tonic;
mod tracked;

pub use self::accept::{Acceptor, Listener};
#[cfg(feature = "axum")]
pub use self::axum::{
    AxumFuture, AxumService, MakeAxumFuture, MakeAxumService, NoConnection, TrackedListener,
};
pub use self::builder::ConnectionsBuilder;
pub use self::connection::{BusyGuard, Connection};
pub use self::connections::{Connections, Room};
pub use self::drain::DrainReport;
#[cfg(feature = "service")]
pub use self::endpoint::ConnectionsService;
pub use self::error::ConfigError;
pub use self::event::{ConnectionEvent, RejectReason};
pub use self::limits::{Http2Close, OnLimit, Upgraded};
pub use self::peer::Peer;
pub use self::protocol::Protocol;
pub use self::reason::CloseReason;
pub use self::registry::{
    CloseAllReport, CloseOutcome, Guard, Registry, RegistryBuilder, RegistryCloseReason,
    ResourceId, ResourceSnapshot, UseError,
};
#[cfg(feature = "hyper-util")]
pub use self::request_body::RequestBody;
#[cfg(feature = "hyper-util")]
pub use self::server::Server;
pub use self::service::{ConnectionService, ResponseBody, ResponseFuture};
pub use self::snapshot::ConnectionSnapshot;
#[cfg(feature = "tls")]
pub use self::tls::{Tls, TlsError};
#[cfg(feature = "tonic")]
pub use self::tonic::{ConnectionLayer, LayeredService, TrackedConnectInfo};
pub use self::tracked::Tracked;
