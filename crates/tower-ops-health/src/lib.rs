//! Liveness, readiness and start-up probes as tower services that answer at once.
//!
//! # Overview
//!
//! A [`Health`] is a cheap handle to what the process says about itself. The process moves it
//! ([`mark_started`], [`mark_ready`], [`mark_not_ready`]), and services made from it tell whoever
//! asks:
//!
//! | Service | Path in [`Probes`] | Question | 200 | 503 |
//! |---|---|---|---|---|
//! | [`Liveness`] | `/health` | Must this process be restarted? | it can answer at all | never, so far |
//! | [`Readiness`] | `/ready` | May it be sent requests? | after [`mark_ready`] | at first, and after [`mark_not_ready`] |
//! | [`Startup`] | `/startup` | Has it finished starting? | after [`mark_started`] or [`mark_ready`], for good | before |
//!
//! A probe copies two flags and is done: it performs no I/O, awaits nothing, and its future is a
//! [`std::future::Ready`]. However often somebody asks, no database notices.
//!
//! # Example
//!
//! ```
//! use http::{Request, StatusCode};
//! use tower::ServiceExt;
//! use tower_ops_health::Health;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), std::convert::Infallible> {
//! let health = Health::new();
//! let ask = || health.readiness().oneshot(Request::new(()));
//!
//! assert_eq!(ask().await?.status(), StatusCode::SERVICE_UNAVAILABLE);
//! health.mark_ready();
//! assert_eq!(ask().await?.status(), StatusCode::OK);
//! health.mark_not_ready();
//! assert_eq!(ask().await?.status(), StatusCode::SERVICE_UNAVAILABLE);
//! # Ok(())
//! # }
//! ```
//!
//! # Answers
//!
//! Every service here answers by the same rules.
//!
//! | | Code | JSON | Text |
//! |---|---|---|---|
//! | good | 200 | `{"status":"ok"}` | `ok` |
//! | not good | 503 | `{"status":"down"}` | `down` |
//! | neither GET nor HEAD | 405, with `allow: GET, HEAD` | `{"error":"method not allowed","allow":["GET","HEAD"]}` | `method not allowed: …` |
//! | another path ([`Probes`] only) | 404 | `{"error":"not found","paths":["/health","/ready","/startup"]}` | `not found: …` |
//!
//! - The code is the answer: the kubelet, Envoy and load balancers read nothing else. The member is
//!   called `status`, as in Spring, with the same words for every probe: a process that is not ready
//!   is `down`, too (Spring says `OUT_OF_SERVICE`). `degraded` and `unknown` are reserved for checks.
//! - Probes are usually open to anybody, so a body holds the status and nothing else: no reason, no
//!   version, nothing of what the client sent. Log the reason where you call [`mark_not_ready`].
//! - The body is JSON, unless `accept` prefers `text/plain` to it; an `accept` that allows
//!   neither, or makes no sense, gets JSON. Each body ends in a newline.
//! - `content-type`, `content-length` and `cache-control: no-cache, no-store, must-revalidate` are
//!   always set. HEAD gets the headers that GET would, and no body.
//!
//! # Place in the stack
//!
//! Outside authentication, rate limits, tracing and metrics: a probe turned away with 401 or 429
//! restarts healthy processes. In axum that means adding the probes *after* the layers, since
//! [`Router::layer`] wraps only what was added before it; better still is a port of their own.
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_ops_health::{Health, Probe};
//!
//! # fn layered(router: Router) -> Router { router }
//! let health = Health::new();
//! let app: Router = layered(Router::new().route("/", get(|| async { "hello" })))
//!     .route_service(Probe::Liveness.path(), health.liveness())
//!     .route_service(Probe::Readiness.path(), health.readiness());
//! ```
//!
//! With hyper alone, wrap [`Probes`] in `hyper_util::service::TowerToHyperService`.
//!
//! # Limits
//!
//! - Liveness says that the runtime which serves it still answers, no more. If every worker of that
//!   runtime is blocked, the probe times out, which the kubelet counts as a failure as well.
//! - The probes know what they were told. There are no dependency checks yet, no groups, and no
//!   `grpc.health.v1`.
//! - Failing readiness does not stop traffic at once: keep serving for some seconds after
//!   [`mark_not_ready`], until whoever routes to you has noticed.
//!
//! [`mark_started`]: Health::mark_started
//! [`mark_ready`]: Health::mark_ready
//! [`mark_not_ready`]: Health::mark_not_ready
//! [`Router::layer`]: https://docs.rs/axum/0.8/axum/struct.Router.html#method.layer

#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod probe;
mod probes;
mod response;
mod state;

pub use probe::{Liveness, Probe, Readiness, Startup};
pub use probes::Probes;
pub use response::ProbeBody;
pub use state::Health;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
