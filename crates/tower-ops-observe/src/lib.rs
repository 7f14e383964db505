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
//! - an [`Outcome`] that tells a finished response from a cut one, a failed one
//!   and a panic, in the head and in the body;
//! - gRPC statuses from heads, trailers and trailers-only responses;
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
//! | head of a 101 response, or of a successful CONNECT | `Upgraded` |
//! | the service returns an error; a timeout | `Failed`; `TimedOut` |
//! | the body yields an error | `BodyFailed` |
//! | the future is dropped | `CancelledBeforeHead` |
//! | the body is dropped before its end | `CancelledDuringBody` |
//! | a panic in the call, in the future or in the body | `Panicked` |
//!
//! A body counts as sent when the transport took it: bytes that then stay in the
//! kernel's buffer of a client that went away are not known to anyone.
//!
//! # Place in the stack
//!
//! Outermost, so that the answers of timeouts, load shedders and panic catchers
//! are seen. The route is known inside of `axum::Router::layer`; anywhere else a
//! [`RouteHook`] further in tells it.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | routes from `MatchedPath`, `RouteHook::new`, sizes of streamed request bodies |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod catch_panic;
mod cause;
mod ending;
mod facts;
mod future;
mod grpc;
mod layer;
mod length;
mod life;
mod observe;
mod pool;
mod request;
mod route;
mod service;

pub use self::body::ResponseBody;
pub use self::catch_panic::{CatchPanic, CatchPanicFuture, CatchPanicLayer, CaughtPanic};
pub use self::cause::is_timeout;
pub use self::ending::{Class, Ending, Outcome, Phase};
pub use self::facts::{Facts, KnownMethod, Side};
pub use self::future::ResponseFuture;
pub use self::grpc::{GrpcCode, GrpcProtocol};
pub use self::layer::ObserveLayer;
pub use self::observe::Observe;
pub use self::route::{Route, RouteHook, RouteHookService};
pub use self::service::ObserveService;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
