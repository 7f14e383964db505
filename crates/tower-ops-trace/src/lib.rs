//! One trace for every HTTP or gRPC exchange, from the caller to whom it calls: W3C context, a span
//! to the end of the body, and an access log. Without OpenTelemetry.
//!
//! # Overview
//!
//! [`TraceLayer`] reads the trace of a request that comes in, decides whether it is recorded, opens a
//! span, makes it the current one for the handler and the body, and closes it when the exchange ends,
//! whatever way it ends. With an [`AccessLog`] it logs one event then. [`ClientTraceLayer`] goes
//! around a client: its requests carry the trace on, as children of the exchange whose handler sends
//! them.
//!
//! # Example
//!
//! ```
//! use tower::ServiceBuilder;
//! use tower_ops_trace::{AccessLog, ClientTraceLayer, Inbound, Ratio, Sampling, Spans};
//!
//! let spans = Spans::new()
//!     .with_inbound(Inbound::public_endpoint())
//!     .with_sampling(Sampling::new().with_ratio(Ratio::new(0.1)?))
//!     .with_access_log(AccessLog::new());
//! let server = ServiceBuilder::new().layer(spans.into_layer());
//! let client = ServiceBuilder::new().layer(ClientTraceLayer::new());
//! # let _ = (server, client);
//! # Ok::<_, tower_ops_trace::InvalidRatio>(())
//! ```
//!
//! # Place in the stack
//!
//! Outermost. Together with other observers, use [`Spans`] in one
//! [`ObserveLayer`](tower_ops_observe::ObserveLayer): after the one that assigns the request id, and
//! before those that want to know the trace.
//!
//! # What others see of it
//!
//! | where | what |
//! |---|---|
//! | [`Facts`](tower_ops_observe::Facts) of the observers behind | the [ids](TraceIds) of the span, and the decision |
//! | [`RequestFacts::current`](tower_ops_observe::RequestFacts) in handlers, layers and log formatters | the same |
//! | [`TraceContext::current`] | what a request of another kind of client has to carry |
//! | the field `trace_id` of the `tracing` span | what a log formatter prints that knows spans alone |
//!
//! A task that is spawned is no part of the exchange: give it `.in_current_span()`, and
//! [`TraceContext::scope`] for what it sends.
//!
//! # An exporter
//!
//! [`ExchangeTracer`] is the seam: a tracer makes a span of its own for each exchange, with the ids
//! and the decision that are there already. tower-ops-otel has one for OpenTelemetry. The `tracing`
//! spans here have the target [`SPAN_TARGET`], by which a bridge leaves them out.
//!
//! # Cost
//!
//! Without a subscriber an exchange costs 230 instructions more, of which the search for the caller's
//! context is 45, and the new ids are 50. A caller's context costs 780 more. An open span adds 2,000
//! with tracing-subscriber's registry alone, most of them the registry's, and an access event 1,100
//! before anybody formats it. Allocated are only what the access log is to take from a client, and a
//! `tracestate`; a box for each exchange with a span or an event is used again by its thread. (callgrind, x86-64, one observer in a tuple with another, five headers:
//! `benches/exchange.rs`.)
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | routes from `MatchedPath`, inside of `Router::layer` |
//! | `tonic` | an interceptor for clients |
//!
//! # Limits
//!
//! No export by itself. B3 and baggage are what a tracer adds.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod access;
mod client;
mod context;
mod fields;
mod heard;
mod ids;
mod inbound;
mod layer;
mod origin;
mod retry_count;
mod sampling;
mod scope;
mod spans;
mod status;
#[cfg(feature = "tonic")]
mod tonic;
mod trace_state;
mod tracer;
mod truncated;

pub use self::access::{ACCESS_TARGET, AccessLog};
pub use self::client::{ClientSpanExchange, ClientSpans, ClientTraceLayer};
pub use self::context::{TraceContext, parse_traceparent};
pub use self::inbound::Inbound;
pub use self::layer::TraceLayer;
pub use self::retry_count::{RetryCount, RetryCountLayer};
pub use self::sampling::{InvalidRatio, Ratio, RouteRule, Sampling};
pub use self::scope::TraceScoped;
pub use self::spans::{SPAN_TARGET, SpanExchange, Spans};
pub use self::status::{ErrorType, SpanName, SpanStatus};
#[cfg(feature = "tonic")]
pub use self::tonic::TraceInterceptor;
pub use self::trace_state::TraceState;
pub use self::tracer::{ExchangeTracer, SpanContext, SpanStart};
pub use self::truncated::truncated;
pub use tower_ops_observe::TraceIds;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
