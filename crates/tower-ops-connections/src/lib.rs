//! Tracks the connections of a server, bounds them, and closes them in order: on axum, tonic and
//! hyper.
//!
//! # Overview
//!
//! A server without limits can be blocked by clients that open connections and send nothing, send
//! half a head, or never read. A limit that does not know of requests also cuts off honest clients.
//! [`Connections`] knows of both: it wraps the stream of each connection ([`Tracked`]) and its
//! service ([`ConnectionService`]), and one task looks at all connections.
//!
//! | a client | is closed with | after |
//! |---|---|---|
//! | connects and sends nothing | `first_byte_timeout` | 30 s |
//! | begins a head, an HTTP/2 frame or the preface, and does not complete it | `header_timeout` | 30 s |
//! | sends no request; HTTP/2 PINGs do not count | `idle` | 300 s |
//! | does not read its response, or hardly, or stops sending its body | `stalled` | off |
//! | has been connected for long | `max_age` | off, ± 10 % |
//! | has sent many requests | `max_requests` | off |
//! | has vanished, also with a request in flight | `tcp_keep_alive`, `http2_ping_interval` | 60 s, and 30 s or 20 s for an answer |
//!
//! A connection with an exchange in flight is closed only if its client stalls, and at the deadline
//! of a [drain](Connections::drain). After an upgrade, a connection is idle when no byte moves in
//! either direction. All of this is set in the [`ConnectionsBuilder`].
//!
//! On HTTP/2 the frames are followed on the wire, in the same way on every server. A stream is in
//! flight until both sides have ended it: a WebSocket, a response that its client has not read, an
//! upload that continues after its response. If no exchange is in flight, and no stream has moved
//! bytes for the idle timeout, the connection is idle. If a client keeps the window of a response
//! closed for the stall timeout, that stream is reset; if no other stream makes progress, the
//! connection is closed.
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
//! The service is outermost. A stream without a service is tracked as well. HTTP/2 can be judged
//! without one; HTTP/1 only by its bytes, and a warning is logged.
//!
//! # How a connection is closed
//!
//! | | `Server` | elsewhere |
//! |---|---|---|
//! | HTTP/1, in flight | `Connection: close`, then the end | the same |
//! | HTTP/1, between requests, or before the first | waits for one more request, which gets `Connection: close`; ends after the [linger](ConnectionsBuilder::linger) of a drain, or else after the grace | the same |
//! | HTTP/1, idle for the idle timeout | the end | the same |
//! | HTTP/2 | GOAWAY, a round trip, GOAWAY with the last stream, the end | one GOAWAY for all streams, the end after the grace |
//! | a TLS handshake | the end; at a drain after the linger, if it was just accepted | |
//! | after an upgrade | [`Connection::closing`] completes; the end after the grace | the same |
//! | at the deadline | the connection's future is dropped, with its handlers | reads and writes fail |
//!
//! A request that begins before a close for idleness is carried out revokes it.
//!
//! # What a client can make the server hold
//!
//! On HTTP/1, what the transport buffers. On HTTP/2 the client sets the windows, and hyper takes that
//! much of every body, with some 300 bytes for each frame. So bodies are polled only as fast as they
//! are written: a stream holds up to 128 KiB of unwritten data, and all streams of a connection up to
//! 384 KiB, including 512 bytes for each frame, and up to one chunk more. [`ConnectionService`] has
//! the details. A client that opens 200 streams and never reads costs one to two mebibytes, on each
//! of the servers above.
//!
//! # Cost
//!
//! - Memory: half a kibibyte for each connection; on HTTP/2 as much again, and 64 bytes for each open
//!   stream.
//! - CPU: about 900 instructions for each request, of which some 130 are the runtime's for a timer.
//!   A pass over a million connections takes some 10 ms
//!   (`cargo bench -p tower-ops-connections --features bench`).
//! - Allocations: one for a request with a body, and one for a response on HTTP/2. axum and tonic
//!   want bodies and bytes of their own: one more for each of the two bodies, and on HTTP/2 one for
//!   each frame.
//!
//! Limits apply up to one pass late.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | a listener and a make-service for `axum::serve`, [`Connection`] as an extractor |
//! | `tonic` | incoming streams and a layer for tonic's server |
//! | `hyper-util` | `Server`, an accept loop |
//! | `tls` | TLS by rustls in `Server`, with certificates that are renewed while it runs |
//! | `service` | `/connections`: lists open connections, and closes one by hand |
//!
//! # Limits
//!
//! - hyper takes the bytes of a body before they are sent. On HTTP/1 a response that is in the
//!   kernel's buffer counts as over. Then the pending write keeps the connection from being idle, and
//!   the stall timeout ends it. On HTTP/2 a response is over when the transport has written it.
//! - A request body that does not come is detected on HTTP/1 only: a stream of HTTP/2 may be silent
//!   on purpose, as gRPC's are. Give handlers a timeout.
//! - The bounds on HTTP/2 are for bodies. hyper holds up to its `max_send_buf_size` of what is
//!   written to a stream after an extended CONNECT.
//! - Below TLS that this crate does not terminate (tonic's own) frames cannot be followed. There only
//!   the service tracks exchanges, and a connection ends without GOAWAY.
//! - A pipelined request counts as a head only once the request before it is answered.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "bench")]
#[doc(hidden)]
#[allow(missing_docs, reason = "not part of the API")]
pub mod bench;
mod clock;
mod close;
mod connection;
mod connections;
mod event;
mod exchange;
mod http2;
mod io;
mod metrics;
mod peer;
mod protocol;
mod record;
mod serve;

pub use self::close::drain::DrainReport;
pub use self::close::reason::CloseReason;
pub use self::connection::{BusyGuard, Connection};
pub use self::connections::Connections;
pub use self::connections::builder::ConnectionsBuilder;
pub use self::connections::limits::{Http2Close, OnLimit, Upgraded};
pub use self::connections::room::Room;
pub use self::connections::snapshot::ConnectionSnapshot;
pub use self::event::{ConnectionEvent, RejectReason};
pub use self::exchange::metered::{BytesBody, MeteredData};
#[cfg(feature = "hyper-util")]
pub use self::exchange::request_body::RequestBody;
pub use self::exchange::request_body::TrackedBody;
pub use self::exchange::service::{ConnectionService, ResponseBody, ResponseFuture};
pub use self::io::tracked::Tracked;
pub use self::peer::Peer;
pub use self::protocol::Protocol;
pub use self::serve::accept::{Acceptor, Listener};
#[cfg(feature = "axum")]
pub use self::serve::axum::{
    AxumFuture, AxumService, MakeAxumFuture, MakeAxumService, MissingConnection, TrackedListener,
};
#[cfg(feature = "service")]
pub use self::serve::endpoint::ConnectionsService;
#[cfg(feature = "hyper-util")]
pub use self::serve::server::Server;
#[cfg(feature = "tls")]
pub use self::serve::tls::{Tls, TlsError};
#[cfg(feature = "tonic")]
pub use self::serve::tonic::{ConnectionLayer, LayeredFuture, LayeredService, TrackedConnectInfo};
#[cfg(unix)]
pub use self::serve::unix::UnixSocket;
pub use tower_ops_core::config::{ConfigError, StartError};

// Its first example is of the accept loop.
#[cfg(all(doctest, feature = "hyper-util"))]
#[doc = include_str!("../README.md")]
struct Readme;
