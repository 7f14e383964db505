//! One tracing span for every HTTP or gRPC exchange, open to the end of its body.
//!
//! # Overview
//!
//! [`TraceLayer`] opens the span when a request comes in, makes it the current
//! one for the handler and the body, and closes it when the exchange ends,
//! whatever way it ends. What is logged meanwhile stands in the span, with the
//! request id where [`tower-ops-request-id`] assigned one.
//!
//! # Example
//!
//! ```
//! use tower::ServiceBuilder;
//! use tower_ops_trace::TraceLayer;
//!
//! let stack = ServiceBuilder::new().layer(TraceLayer::new());
//! # let _ = stack;
//! ```
//!
//! # Place in the stack
//!
//! Outermost. Together with other observers, use [`Spans`] in one
//! [`ObserveLayer`](tower_ops_observe::ObserveLayer), after the one that assigns
//! the request id.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | routes from `MatchedPath`, inside of `Router::layer` |
//!
//! # Limits
//!
//! This is the first part: no OpenTelemetry export, no trace context, no access
//! log yet.
//!
//! [`tower-ops-request-id`]: https://docs.rs/tower-ops-request-id

#![cfg_attr(docsrs, feature(doc_cfg))]

mod access;
mod client;
mod context;
mod fields;
mod ids;
mod inbound;
mod sampling;
mod spans;
mod status;
#[cfg(feature = "tonic")]
mod tonic;
mod trace_state;
mod tracer;

pub use self::access::{ACCESS_TARGET, AccessLog};
pub use self::client::{
    ClientSpanExchange, ClientSpans, ClientTraceLayer, RetryCount, RetryCountLayer,
};
pub use self::context::{TraceContext, parse_traceparent};
pub use self::inbound::Inbound;
pub use self::sampling::{InvalidRatio, Ratio, RouteRule, Sampling};
pub use self::spans::{SPAN_TARGET, SpanExchange, Spans, TraceLayer};
pub use self::status::{ErrorType, SpanName, SpanStatus};
#[cfg(feature = "tonic")]
pub use self::tonic::TraceInterceptor;
pub use self::trace_state::TraceState;
pub use self::tracer::{ExchangeTracer, SpanContext, SpanStart};
pub use tower_ops_observe::TraceIds;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
