//! Request ids for every tower stack: accepted or generated, carried everywhere,
//! valid by construction.
//!
//! # Overview
//!
//! [`RequestIdLayer`] gives each request a [`RequestId`]: the one that it brings
//! in `x-request-id` if that is valid, or a new one. The handler, the tasks that
//! it [`spawn`]s, its outgoing calls ([`RequestIdClientLayer`]), the span around
//! it and the response's header all show the same id.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use axum::{Router, routing::get};
//! use tower_ops_request_id::{RequestId, RequestIdLayer};
//!
//! let app: Router = Router::new()
//!     .route("/", get(|| async { RequestId::current().unwrap().to_string() }))
//!     .layer(RequestIdLayer::new());
//! # use tower::ServiceExt;
//! # let response = app.oneshot(http::Request::new(axum::body::Body::empty())).await.unwrap();
//! # assert!(response.headers().contains_key("x-request-id"));
//! # }
//! ```
//!
//! # Place in the stack
//!
//! As far out as possible, so that every answer carries the id; inside of the
//! span that shall show it in a field `request_id`. Together with other
//! observers, use [`RequestIds`] in one
//! [`ObserveLayer`](tower_ops_observe::ObserveLayer).
//!
//! # What is valid
//!
//! 1 to 128 visible ASCII characters (`!` to `~`). Anything else that comes in,
//! and a header that is there twice, is replaced, counted
//! ([`RequestIdLayer::invalid_count`]) and never logged.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | `RequestId` as an extractor |
//! | `tonic` | interceptors for both directions |
//!
//! # Limits
//!
//! [`RequestId::current`] is a property of the running task. `tokio::spawn`,
//! threads and `spawn_blocking` forget it; take it along by hand or with
//! [`spawn`] and [`RequestId::scope`].

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "axum")]
mod axum;
mod client;
mod current;
mod generate;
mod id;
mod inbound;
mod layer;
#[cfg(feature = "tonic")]
mod tonic;
mod traceparent;

#[cfg(feature = "axum")]
pub use self::axum::MissingRequestId;
pub use self::client::{OutgoingRequest, RequestIdClient, RequestIdClientLayer};
pub use self::current::{Scoped, spawn};
pub use self::generate::Generator;
pub use self::id::{InvalidRequestId, MAX_LEN, RequestId, X_REQUEST_ID};
pub use self::inbound::{Inbound, RequestHead};
pub use self::layer::{RequestIdExchange, RequestIdLayer, RequestIds};
#[cfg(feature = "tonic")]
pub use self::tonic::{RequestIdClientInterceptor, RequestIdServerInterceptor};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
