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

mod spans;

pub use self::spans::{SpanExchange, Spans, TraceLayer};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
