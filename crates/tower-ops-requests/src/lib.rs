//! Which requests are running now, which ran, and how each ended.
//!
//! # Overview
//!
//! A [`RequestTracker`] is a handle and an observer. Its
//! [layer](RequestTracker::layer) takes every exchange in when its request's head
//! is there, and keeps it in a bounded history when it ended. From there:
//!
//! - [`in_flight`](RequestTracker::in_flight), [`history`](RequestTracker::history),
//!   [`slowest`](RequestTracker::slowest) and [`failed`](RequestTracker::failed) list
//!   [`RequestSnapshot`]s; [`stats`](RequestTracker::stats) counts;
//! - [`service`](RequestTracker::service) answers all of it as JSON;
//! - [`track`](RequestTracker::track) does the same for work that is no request;
//! - [`wait_idle`](RequestTracker::wait_idle) lets a shutdown wait, and names what it
//!   waited for in vain;
//! - [`watch`](RequestTracker::watch) reports slow requests while they run;
//! - [`RequestHandle`] lets a handler note something about its own exchange, and say
//!   that it failed.
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
//! [`ObserveLayer`](tower_ops_observe::ObserveLayer), after those that tell the
//! request id, the trace and the peer: it copies them when the request begins.
//!
//! # When it is over
//!
//! An exchange ends as [tower-ops-observe](tower_ops_observe) has it: with its body,
//! an error, a panic or a drop; with the head, if the connection is handed over. A
//! task ends with its future.
//!
//! # Bounds
//!
//! Everything is bounded, whatever clients send: see
//! [`memory_bound`](RequestTrackerBuilder::memory_bound). What a client sent is copied,
//! cut and marked as such in [`RequestSnapshot`]; it is never a label, and the service
//! shows it to nobody unless [told](RequestsService::details).
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | [`RequestHandle`] as an extractor, routes from `MatchedPath` |
//! | `tonic` | calls whose client broke its request off, by tonic's body type |
//!
//! # Limits
//!
//! A route that only a [`RouteHook`](tower_ops_observe::RouteHook) further in knows
//! is shown from the response's head on. There is no gauge here:
//! `server_in_flight_requests` comes from tower-ops-metrics.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "axum")]
mod axum;
#[doc(hidden)]
#[allow(missing_docs, reason = "not part of the API")]
pub mod bench;
mod builder;
mod cause;
mod current;
mod handle;
mod history;
mod idle;
mod live;
mod metadata;
mod observer;
mod outcome;
mod progress;
mod quantiles;
mod query;
mod record;
mod registry;
mod reservoir;
mod routes;
mod service;
mod shard_stats;
mod shards;
mod snapshot;
mod stats;
mod task;
mod text;
mod thread;
mod tracker;
mod watchdog;

pub use self::builder::{
    DEFAULT_MAX_HISTORY, DEFAULT_MAX_ROUTES, DEFAULT_SLOW_AFTER, RequestTrackerBuilder,
};
pub use self::handle::RequestHandle;
pub use self::idle::StillRunning;
pub use self::metadata::Metadata;
pub use self::observer::{RequestExchange, RequestTrackerLayer};
pub use self::outcome::{Kind, TrackedOutcome};
pub use self::service::RequestsService;
pub use self::snapshot::RequestSnapshot;
pub use self::stats::{Rates, RouteSummary, Stats};
pub use self::task::Tracked;
pub use self::tracker::RequestTracker;
pub use tower_ops_core::config::ConfigError;
pub use tower_ops_core::http::AnswerBody;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
