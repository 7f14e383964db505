//! HTTP and gRPC server metrics by the OpenTelemetry conventions: right after a
//! cancel or a panic, and bounded.
//!
//! # Overview
//!
//! | metric | type | labels |
//! |---|---|---|
//! | `http_server_request_duration_seconds` | histogram | method, scheme, route, protocol version, status, error type |
//! | `http_server_time_to_first_byte_seconds` | histogram | the same |
//! | `http_server_request_body_size_bytes` | histogram | the same |
//! | `http_server_response_body_size_bytes` | histogram | the same |
//! | `http_server_active_requests` | gauge | method, scheme |
//! | `rpc_server_call_duration_seconds` | histogram | system, method, status code, error type |
//! | `server_in_flight_requests` | gauge | |
//! | `server_requests_total` | counter | outcome, class |
//! | `server_request_ids_replaced_total` | counter | |
//! | `tower_ops_metrics_overflow_total` | counter | |
//!
//! The labels are spelled `http_request_method`, `url_scheme`, `http_route`,
//! `network_protocol_version`, `http_response_status_code`, `error_type`;
//! `rpc_system_name`, `rpc_method`, `rpc_response_status_code`. A gRPC call is
//! counted as one, and not as an HTTP request as well.
//!
//! Sizes are bytes that came and bytes that were sent, never what somebody
//! announced. That of a request is recorded when its body is over, and only where
//! the body can be counted: axum's can, hyper's `Incoming` cannot.
//!
//! Durations run to the end of the body. `error_type` is the status of a server
//! error, or `error`, `timeout`, `body_error`, `cancelled` or `panic`; it is
//! absent on success.
//!
//! # Example
//!
//! ```
//! # #[cfg(all(feature = "axum", feature = "prometheus"))] {
//! use axum::{Router, routing::get};
//! use tower_ops_metrics::Metrics;
//!
//! let (metrics, prometheus) = Metrics::builder().build_prometheus()?;
//! prometheus.install().ok(); // optional: lets `metrics::counter!` record into it
//! let app: Router = Router::new()
//!     .route("/users/{id}", get(|| async { "a user" }))
//!     .layer(metrics.layer());
//! let operations: Router = Router::new().route_service("/metrics", prometheus.service());
//! # let _ = (app, operations);
//! # }
//! # Ok::<(), tower_ops_metrics::ConfigError>(())
//! ```
//!
//! # Bounds
//!
//! Nothing that a client sends becomes a label: methods are those of a closed
//! list or `_OTHER`, routes are those that matched or `{unmatched}`. A hard cap
//! on series ([`MetricsBuilder::max_series`]) holds against the rest.
//!
//! # Metrics of your own
//!
//! [`counter!`], [`gauge!`], [`histogram!`] and what describes them are those of the crate
//! `metrics`, in the version that the recorder here belongs to. What another version of `metrics`
//! counts finds no recorder and is lost, and nothing is logged. If you depend on `metrics` yourself,
//! [`assert_same_metrics!`] does not compile where the versions differ.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `prometheus` (default) | a Prometheus recorder, its upkeep, and the `/metrics` service |
//! | `axum` | routes from `MatchedPath`, sizes of requests |
//! | `tonic` | calls whose client broke its request off, by tonic's body type |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod labels;
mod names;
mod observer;
#[cfg(feature = "prometheus")]
mod prometheus;
mod registry;
mod same_metrics;
mod set;
mod table;

pub use self::builder::{DEFAULT_MAX_SERIES, DURATION_BUCKETS, MetricsBuilder, SIZE_BUCKETS};
pub use self::observer::{Metrics, MetricsExchange, MetricsLayer};
#[cfg(feature = "prometheus")]
pub use self::prometheus::{AlreadyInstalled, MetricsService, Prometheus};
#[doc(hidden)]
pub use self::same_metrics::{SameMetrics, same_metrics};
pub use metrics::{
    Counter, Gauge, Histogram, LocalRecorderGuard, Unit, counter, describe_counter, describe_gauge,
    describe_histogram, gauge, histogram, set_default_local_recorder, with_local_recorder,
};
pub use tower_ops_core::config::ConfigError;
#[cfg(feature = "prometheus")]
pub use tower_ops_core::http::AnswerBody;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
