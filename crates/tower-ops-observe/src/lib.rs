//! The life of an HTTP or gRPC exchange, watched once.
//!
//! # Overview
//!
//! Request ids, metrics, spans, access logs and trackers all need the same facts
//! about a request: its route, how long it took, and how it ended. This crate
//! finds them out in one place. Write an [`Observe`], or take those of the other
//! tower-ops crates, and put it into an [`ObserveLayer`]:
//!
//! - exactly one [`on_request`](Observe::on_request) and one
//!   [`on_end`](Observe::on_end) for every request, whatever becomes of it;
//! - an [`Outcome`] by which a finished response differs from a cut one, a failed
//!   one and a panic, in the head and in the body, as the client sees it;
//! - gRPC statuses from heads, trailers, trailers-only responses and the bodies of
//!   gRPC-Web;
//! - routes and never raw paths.
//!
//! Observers compose: a tuple of up to eight is one future, one body and one set
//! of clock reads. The layer goes around a server (hyper 1, axum 0.8, tonic
//! 0.14) and, by [`ObserveLayer::outgoing`], around a client.
//!
//! # Example
//!
//! ```
//! use http::Request;
//! use tower_ops_observe::{Ending, Facts, Observe, ObserveLayer};
//!
//! struct SlowLog;
//!
//! impl Observe for SlowLog {
//!     type Exchange = ();
//!     fn on_request<B>(&self, _: &mut Request<B>, _: &mut Facts) {}
//!     fn on_end(&self, _: &mut (), ending: &Ending<'_>, facts: &Facts) {
//!         if ending.duration().as_secs() > 1 {
//!             eprintln!("{} took {:?}", facts.route_or_unmatched(), ending.duration());
//!         }
//!     }
//! }
//!
//! let layer = ObserveLayer::new(SlowLog);
//! # let _ = layer;
//! ```
//!
//! # When an exchange ends
//!
//! | what happens | [`Outcome`] |
//! |---|---|
//! | body polled to its end, trailers seen, or `is_end_stream` turned true | `Completed` |
//! | body dropped after all bytes that its size hint or `Content-Length` announced | `Completed` |
//! | head of a HEAD, 204 or 304 response, or of one without a body | `Completed` |
//! | head of a 101 response to a request with `Upgrade`, or of a successful CONNECT | `Upgraded` |
//! | the service returns an error; a timeout | `Failed`; `TimedOut` |
//! | head of any other 1xx response, for which hyper's HTTP/1 sends a 500 | `Failed` |
//! | the body yields an error | `BodyFailed` |
//! | the body is not as long as announced; with HTTP/1 a longer one is cut instead | `BodyFailed` |
//! | the future is dropped | `CancelledBeforeHead` |
//! | the body is dropped before its end | `CancelledDuringBody` |
//! | the client breaks the request's body off, whatever the service answers | one of the two |
//! | a panic in the call, in the future or in the body, caught or not | `Panicked` |
//!
//! The last but one is known for bodies of axum's and tonic's types, by the
//! features; the last, if what catches the panic is [`CatchPanicLayer`] or sets the
//! mark [`CaughtPanic`]. What tower-http's layer catches by itself is a 500.
//!
//! A body counts as sent when the transport took it: bytes that then stay in the
//! kernel's buffer of a client that went away are not known to anyone.
//!
//! # Place in the stack
//!
//! Outermost, so that the answers of timeouts, load shedders and panic catchers
//! are seen. The route is known inside of `axum::Router::layer`; anywhere else a
//! [`RouteHook`] further in reports it.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | routes from `MatchedPath`, `RouteHook::new`, sizes of axum's request bodies, `RequestFacts` as an extractor |
//! | `tonic` | sizes of tonic's request bodies |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod catch_panic;
mod cause;
mod current;
mod ending;
mod facts;
mod future;
mod grpc;
mod known_method;
mod layer;
mod length;
mod life;
mod observe;
mod path;
mod pool;
mod request;
mod route;
mod service;
mod shared;
mod texts;
mod trace_ids;

pub use self::body::ResponseBody;
pub use self::catch_panic::{CatchPanic, CatchPanicFuture, CatchPanicLayer, CaughtPanic};
pub use self::cause::{as_error, is_timeout};
#[cfg(feature = "axum")]
pub use self::current::axum::MissingRequestFacts;
pub use self::current::{RequestFacts, RequestIdScope};
pub use self::ending::{Class, Ending, Outcome, Phase};
pub use self::facts::{Facts, Side};
pub use self::future::ResponseFuture;
pub use self::grpc::{GrpcCode, GrpcProtocol};
pub use self::known_method::KnownMethod;
pub use self::layer::ObserveLayer;
pub use self::observe::Observe;
pub use self::path::original_path;
pub use self::route::{Route, RouteHook, RouteHookService};
pub use self::service::ObserveService;
pub use self::trace_ids::{Hex, TraceIds, TraceScope};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
