//! Connections of a server, tracked, bounded and reaped: on axum, tonic and hyper.
//!
//! # Overview
//!
//! A server without limits belongs to whoever opens enough connections: those that say
//! nothing, send half a head, or never read. And a limit that does not know of requests
//! cuts off those who mean well. [`Connections`] knows of both: it wraps the stream of
//! each connection ([`Tracked`]) and its service ([`ConnectionService`]), and one task
//! looks at all of them.
//!
//! | A client | is closed with | after |
//! |---|---|---|
//! | connects and says nothing | `first_byte_timeout` | 30 s |
//! | begins a head, or the HTTP/2 preface, and does not end it | `header_timeout` | 30 s |
//! | asks for nothing; HTTP/2 pings do not count | `idle` | 300 s |
//! | does not read its response, or send its body, or at a trickle | `stalled` | off |
//! | has been there for long | `max_age` | off, ± 10 % |
//! | has asked often enough | `max_requests` | off |
//!
//! Nothing is closed while an exchange is in flight, but for a client that stalls, and at
//! the deadline of a [drain](Connections::drain). After an upgrade, a connection is idle
//! when no byte goes either way. All of it is set in the [`ConnectionsBuilder`].
//!
//! # Example
//!
//! The accept loop of this crate, with the feature `hyper-util`:
//!
//! ```
//! # #[cfg(feature = "hyper-util")]
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use axum::{Router, routing::get};
//! use tokio::net::TcpListener;
//! use tower_ops_connections::Connections;
//!
//! let connections = Connections::builder()
//!     .stall_timeout(Duration::from_secs(30))
//!     .max_connections(10_000)
//!     .build()?;
//! let app = Router::new().route("/", get(|| async { "hello" }));
//! let listener = TcpListener::bind("0.0.0.0:3000").await?;
//! let stop = async { /* a signal */ };
//! let report = connections.server().serve(listener, app, stop).await;
//! println!("{report}");
//! # Ok(())
//! # }
//! ```
//!
//! # Place in the stack
//!
//! | server | stream | service |
//! |---|---|---|
//! | this crate's `Server` | by itself | by itself |
//! | `axum::serve` | `connections.listener(listener)` | `connections.make_service(app)` |
//! | tonic, `serve_with_incoming` | `connections.incoming(listener)` | `.layer(connections.layer())` |
//! | hyper by hand | [`Connections::accept`] | [`Connection::service`] |
//!
//! The service is outermost. A stream without one is tracked as well, but then only bytes
//! tell whether it is idle; a warning says so.
//!
//! # How a connection is closed
//!
//! | | `Server` | elsewhere |
//! |---|---|---|
//! | HTTP/1, in flight | `Connection: close`, then the end | the same |
//! | HTTP/1, idle | the end | the same |
//! | HTTP/2 | GOAWAY, a round trip, GOAWAY with the last stream, the end | one GOAWAY for all streams, after the grace the end |
//! | after an upgrade | [`Connection::closing`] completes, after the grace the end | the same |
//! | at the deadline | the connection's future is dropped, with its handlers | reading and writing fail |
//!
//! A request that begins before an idle close was carried out takes it back.
//!
//! # What it costs
//!
//! Half a kibibyte for each connection, and about 900 instructions for each request, of
//! which some 130 are the runtime's for having a timer at all; no allocation. One pass over
//! a million connections takes some 10 ms (`cargo bench -p tower-ops-connections`). Limits
//! are kept up to one pass late.
//!
//! # Other resources
//!
//! [`Registry`] closes anything else that lives long and is not used: exactly once, and
//! never while it is in use.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | a listener and a make-service for `axum::serve`, [`Connection`] as an extractor |
//! | `tonic` | incoming streams and a layer for tonic's server |
//! | `hyper-util` | `Server`, an accept loop |
//! | `tls` | TLS by rustls in `Server`, with certificates that are renewed while it runs |
//! | `service` | `/connections`: what is open, and closing one by hand |
//!
//! # Limits
//!
//! - hyper takes a body's bytes before they are sent. A response that waits in the kernel
//!   counts as over; it is then the write that waits that keeps the connection from being
//!   idle, and the stall timeout that ends it.
//! - A request's body that does not come is seen on HTTP/1 in `Server` only. Elsewhere, give
//!   handlers a timeout.
//! - Below TLS that is not ours (tonic's own) frames cannot be told: set
//!   [`Http2Close::Eof`].
//! - What a client pipelines behind a request is a head only once that request is answered.

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
mod event;
mod goaway;
mod limits;
mod listed;
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
pub use tower_ops_config::ConfigError;

// Its first example is of the accept loop.
#[cfg(all(doctest, feature = "hyper-util"))]
#[doc = include_str!("../README.md")]
struct Readme;
