//! OpenTelemetry for tower-ops: OTLP over gRPC and HTTP, counts that are exact, and an end in time.
//!
//! # Overview
//!
//! [`Telemetry`] is the telemetry of a service. It has three parts that meet in the stack:
//!
//! - [`Telemetry::tracer`] makes the spans of exchanges, straight through OpenTelemetry's SDK, with
//!   the ids and the sampling decision that [`tower-ops-trace`](tower_ops_trace) has found;
//! - [`Telemetry::layer`] makes `tracing` spans of handlers children of them, and events log records
//!   if [`logs`](TelemetryBuilder::logs) are exported;
//! - a thread of its own exports all that. No request ever waits for a collector, and what is
//!   exported is never traced itself.
//!
//! # Example
//!
//! ```
//! use tower_ops_otel::Telemetry;
//! use tower_ops_trace::{ClientSpans, Spans};
//! use tracing_subscriber::layer::SubscriberExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_ops_otel::ConfigError> {
//! let telemetry = Telemetry::builder("orders", env!("CARGO_PKG_VERSION")).start()?;
//! let subscriber = tracing_subscriber::registry().with(telemetry.layer());
//! # let _ =
//! tracing::subscriber::set_default(subscriber);
//!
//! // Around the service, and around its clients.
//! let server = Spans::new()
//!     .with_sampling(telemetry.sampling())
//!     .with_tracer(telemetry.tracer())
//!     .into_layer();
//! let client = ClientSpans::new().with_tracer(telemetry.tracer()).into_layer();
//! # let _ = (server, client);
//!
//! // The last thing that a service does.
//! telemetry.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Spans go to the collector of `OTEL_EXPORTER_OTLP_ENDPOINT`. If it is not set, nothing is exported,
//! and contexts are still propagated. (The specification would export to localhost.) All variables:
//! [`environment`].
//!
//! # What becomes of a span
//!
//! It waits in a queue, which is bounded, for others or for the next export. Where there is no room
//! it is dropped and counted: a request never waits. Once all has ended, what was made is the sum of
//! two metrics, which are there from the start:
//!
//! | metric | counts |
//! |---|---|
//! | `tower_ops_spans_exported_total` | spans that the collector has taken |
//! | `tower_ops_spans_dropped_total{reason}` | `queue_full`, `export_failed`, `timeout`, `rejected` by the collector, `shutdown` |
//!
//! A batch is sent again, after a pause that grows, where the failure may pass and its
//! time is not over. An outage is logged once when it begins, and once when it is over.
//!
//! # The end
//!
//! [`Telemetry::shutdown`], or the drop of the last [`Telemetry`], sends what waits: all signals at
//! once, and until one deadline (5 s by default), however many collectors hang. A collector that
//! cannot be reached is then tried once. What is not sent by then counts as dropped. A batch that is
//! on its way at the deadline counts as dropped, though the collector may have it.
//!
//! # Spans of handlers
//!
//! | a handler does | the span is |
//! |---|---|
//! | `info_span!`, `.instrument(info_span!(..))`, [`in_span`] | a child of its request's |
//! | `tokio::spawn(future.in_current_span())`, spans in it | a child |
//! | `info_span!(parent: &Span::current(), ..)`, directly below the request | a new root |
//! | `tokio::spawn(future)` | a new root |
//!
//! The span of the request is none of the bridge's, which is why a parent that is named explicitly
//! does not find it.
//!
//! # Several versions of OpenTelemetry
//!
//! Crates of different versions do not see each other's spans, and nothing fails. So take
//! OpenTelemetry from here: [`opentelemetry`]. A subscriber without a bridge of this version is
//! detected when the first exchange begins, or by [`Telemetry::check`], and logged as one warning.
//!
//! # Cost
//!
//! The span of an exchange costs about 4,500 instructions and 7 allocations; that of one that is not
//! recorded about 1,000 and 1. The README has all figures.
//!
//! # Limits
//!
//! - The random flag of a trace that begins here is not exported: the SDK does not know it. It is
//!   propagated.
//! - No proxy is used to reach a collector. Certificates are read at the start.
//! - Metrics are those of OpenTelemetry's API. What is recorded with the `metrics` crate is served
//!   by the operations endpoint.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod api;
mod builder;
mod closing;
mod console;
mod counts;
mod decided;
mod layer;
mod otlp;
mod propagation;
mod queue;
mod resource;
mod scope;
mod settings;
mod signals;
mod span_context;
mod telemetry;
mod thread;
mod tracer;

pub use opentelemetry;
pub use tower_ops_core::config::ConfigError;

pub use self::api::{InSpan, add_span_attributes, create_span, in_span, record_exception};
pub use self::builder::TelemetryBuilder;
pub use self::counts::{DropReason, ExportCounts};
pub use self::layer::TelemetryLayer;
pub use self::propagation::{extract_context, inject_context};
pub use self::settings::Protocol;
pub use self::telemetry::Telemetry;
pub use self::tracer::{ExchangeSpan, SpanTracer};

#[doc = include_str!("../ENVIRONMENT.md")]
pub mod environment {}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
