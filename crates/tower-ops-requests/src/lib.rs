//! Which requests are running now, which ran, and how each ended.
//!
//! # Overview
//!
//! A [`RequestTracker`] is a handle and an observer. Its [layer](RequestTracker::layer) registers
//! every exchange when the request's head is read, and keeps it in a bounded history when it ended.
//!
//! - [`in_flight`](RequestTracker::in_flight), [`history`](RequestTracker::history),
//!   [`slowest`](RequestTracker::slowest) and [`failed`](RequestTracker::failed) list
//!   [`RequestSnapshot`]s; [`stats`](RequestTracker::stats) counts.
//! - [`service`](RequestTracker::service) answers all of it as JSON.
//! - [`track`](RequestTracker::track) does the same for work that is not a request.
//! - [`wait_idle`](RequestTracker::wait_idle) lets a shutdown wait for requests;
//!   [`wait_idle_timeout`](RequestTracker::wait_idle_timeout) names those that are still running.
//! - [`watch`](RequestTracker::watch) reports slow requests while they run.
//! - [`RequestHandle`] lets a handler add notes to its own exchange, and mark it as failed.
//!
//! # Example
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_ops_requests::RequestTracker;
//!
//! let tracker = RequestTracker::new();
//! let app: Router = Router::new()
//!     .route("/", get(|| async { "hello" }))
//!     .layer(tracker.layer());
//! let operations: Router = Router::new().fallback_service(tracker.service());
//! # let _ = (app, operations);
//! ```
//!
//! # Place in the stack
//!
//! Outermost. Together with other observers, put the tracker itself into one
//! [`ObserveLayer`](tower_ops_observe::ObserveLayer), after those that set the request id, the
//! trace and the peer: it copies them when the request begins.
//!
//! # When an exchange ends
//!
//! As in [tower-ops-observe](tower_ops_observe): with its body, an error, a panic or a drop; with
//! the head, if the connection is handed over. A task ends with its future.
//!
//! # Bounds
//!
//! Everything is bounded, whatever clients send: see
//! [`memory_bound`](RequestTrackerBuilder::memory_bound). Text from a client is copied, cut, and
//! marked as such in [`RequestSnapshot`]. It is never a label, and the service shows it only if
//! [`details`](RequestsService::details) permits.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | [`RequestHandle`] as an extractor, routes from `MatchedPath` |
//! | `tonic` | detects, by tonic's body type, calls whose client broke its request off |
//!
//! # Limits
//!
//! A route that only a [`RouteHook`](tower_ops_observe::RouteHook) further in knows is shown from
//! the response's head on. There is no gauge here: `server_in_flight_requests` comes from
//! tower-ops-metrics.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "bench")]
#[doc(hidden)]
#[allow(missing_docs, reason = "not part of the API")]
pub mod bench;
mod handle;
mod history;
mod record;
mod registry;
mod service;
mod stats;
mod task;
mod tracker;
mod two_windows;

pub use self::handle::RequestHandle;
#[cfg(feature = "axum")]
pub use self::handle::axum::MissingRequestTracker;
pub use self::record::kind::Kind;
pub use self::record::metadata::Metadata;
pub use self::record::snapshot::RequestSnapshot;
pub use self::registry::idle::StillRunning;
pub use self::service::RequestsService;
pub use self::stats::{Rates, RouteSummary, Stats};
pub use self::task::Tracked;
pub use self::tracker::RequestTracker;
pub use self::tracker::builder::{
    DEFAULT_MAX_HISTORY, DEFAULT_MAX_ROUTES, DEFAULT_SLOW_AFTER, RequestTrackerBuilder,
};
pub use self::tracker::observer::{RequestExchange, RequestTrackerLayer};
pub use tower_ops_core::config::ConfigError;
pub use tower_ops_core::http::AnswerBody;
pub use tower_ops_observe::Outcome;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
