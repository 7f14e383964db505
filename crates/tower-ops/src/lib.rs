//! What a Rust service needs to be operated, behind one builder.
//!
//! # Overview
//!
//! [`Ops`] gives a service request ids, lists of the requests in flight and of those that ended,
//! Prometheus metrics, a W3C trace, a tracing span and an access line for each request, and probes
//! for liveness, readiness and start-up. One [`layer`](Ops::layer) watches the application, on axum 0.8, tonic 0.14 and hyper 1.
//! An operations endpoint on a port of its own answers `/metrics`, `/requests`, `/health`, `/ready`
//! and more; `/` lists them.
//!
//! # Example
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use tokio::net::TcpListener;
//! use tower_ops::Ops;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let ops = Ops::builder("orders").build()?;
//!     let app = Router::new()
//!         .route("/orders/{id}", get(|| async { "an order" }))
//!         .layer(ops.layer());
//!     let report = ops.serve(TcpListener::bind("0.0.0.0:3000").await?, app).await?;
//!     println!("{report}");
//!     Ok(())
//! }
//! ```
//!
//! # Place in the stack
//!
//! Put the layer outermost. In `Router::layer` it finds the route by itself. Around a `Router`, and
//! for `nest_service`, add a [`RouteHook`](observe::RouteHook) further in.
//!
//! # Crates
//!
//! | module | crate | alone |
//! |---|---|---|
//! | [`observe`] | tower-ops-observe | the life of an exchange, for observers of your own |
//! | [`connections`] | tower-ops-connections | connections, tracked, bounded and reaped |
//! | [`request_id`] | tower-ops-request-id | request ids |
//! | [`requests`] | tower-ops-requests | what is in flight, and what ended |
//! | [`resources`] | tower-ops-resources | long-lived resources, closed when nobody uses them |
//! | [`metrics`] | tower-ops-metrics | server metrics |
//! | [`trace`] | tower-ops-trace | one trace from the caller to whom it calls, spans, an access log |
//! | `logs` (feature) | tower-ops-logs | log lines with the ids of the request |
//! | `otel` (feature) | tower-ops-otel | OpenTelemetry |
//! | [`health`] | tower-ops-health | checks and probes |
//! | [`health::checks`] | tower-ops-health-checks | ready-made checks |
//! | [`state`] | tower-ops-state | capture and restore a running service |
//! | [`admin`] | tower-ops-admin | the operations endpoint |
//! | [`lifecycle`] | tower-ops-lifecycle | start, drain and stop |
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `axum` (default) | routes from `MatchedPath`, the request id and the connection as extractors, a listener for `axum::serve` |
//! | `tonic` | interceptors for the request id and the trace, incoming connections for tonic's server; with `axum`, both on one port: `axum_and_grpc` |
//! | `tls` | TLS by rustls: `OpsBuilder::tls` |
//! | `systemd` | `READY=1` and `STOPPING=1`, and the sockets that systemd opened |
//! | `logs` | log lines with the ids of the request, `/loglevel` and `/logs`: `OpsBuilder::logs` |
//! | `otel` | spans by OTLP: `OpsBuilder::telemetry` |
//! | `serde` | [`Settings`] as a part of the application's own settings |
//! | `compression` | gzip at `/state` |
//! | `sqlx`, `redis` | checks of pools of any database of sqlx, and of Redis, in [`health::checks`] |
//! | `check-certificates`, `check-disk`, `check-dns`, `check-file`, `check-http`, `check-memory`, `check-runtime`, `check-tcp` | more of them |
//! | `reqwest` | the request id through reqwest's client |
//! | `tower-http` | `Extension<tower_http::request_id::RequestId>` beside our own |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod drain;
mod layer;
mod mounts;
mod operations;
mod ops;
mod readiness;
mod restoring;
mod serve;
mod settings;
mod setup_warnings;

pub use self::builder::OpsBuilder;
pub use self::builder::addr::OpsAddr;
pub use self::layer::client_addr::ClientAddr;
#[cfg(feature = "axum")]
pub use self::layer::client_addr::axum::MissingClientAddr;
pub use self::layer::connection_facts::ConnectionFacts;
pub use self::layer::observers::{Observers, ObserversExchange};
pub use self::layer::timeout::{Timeout, TimeoutFuture, TimeoutLayer};
pub use self::layer::{OpsLayer, WithCatchPanic, WithTimeout};
pub use self::ops::Ops;
pub use self::serve::Servers;
pub use self::serve::activity_listener::ActivityListener;
#[cfg(all(feature = "axum", feature = "tonic"))]
pub use self::serve::axum_and_grpc::axum_and_grpc;
pub use self::settings::Settings;

pub use tower_ops_core::config::{ConfigError, StartError};

pub use tower_ops_admin as admin;
pub use tower_ops_connections as connections;
pub use tower_ops_lifecycle as lifecycle;
#[cfg(feature = "logs")]
#[cfg_attr(docsrs, doc(cfg(feature = "logs")))]
pub use tower_ops_logs as logs;
pub use tower_ops_metrics as metrics;
pub use tower_ops_observe as observe;
#[cfg(feature = "otel")]
#[cfg_attr(docsrs, doc(cfg(feature = "otel")))]
pub use tower_ops_otel as otel;
pub use tower_ops_request_id as request_id;
pub use tower_ops_requests as requests;
pub use tower_ops_resources as resources;
pub use tower_ops_state as state;
pub use tower_ops_trace as trace;

/// The crate [`tower_ops_health`], and [ready-made checks](health::checks).
pub mod health {
    #[doc(inline)]
    pub use tower_ops_health::*;
    pub use tower_ops_health_checks as checks;
}

#[cfg(all(doctest, feature = "axum", feature = "logs"))]
#[doc = include_str!("../README.md")]
struct Readme;
