//! Health of a process: probes that answer at once, and checks that run on their own.
//!
//! # Overview
//!
//! A [`Health`] is a cheap handle to what a process knows about itself: what it says
//! ([`mark_started`], [`mark_ready`], [`mark_not_ready`], [`drain`]), what its [`Check`]s found, and
//! whether its runtime still runs. Services made from it tell whoever asks:
//!
//! | Path in [`Probes`] | Question | 200 | 503 |
//! |---|---|---|---|
//! | `/health` | Must this process be restarted? | the runtime runs tasks | it has not for 30 s |
//! | `/ready` | May it be sent requests? | marked ready, and no critical check down | otherwise |
//! | `/startup` | Has it finished starting? | marked started once, for good | before |
//! | `/health/ping` | Can it answer? | always | never |
//! | `/health/{check}` | How is this check, or group? | ok, degraded | down, unknown |
//! | `/checks` | How are all checks? | none that is critical is down | otherwise |
//!
//! A probe only reads the last results: it performs no I/O, awaits nothing, and its future is a
//! [`std::future::Ready`]. However often somebody asks, no database notices.
//!
//! # Example
//!
//! ```
//! use http::{Request, StatusCode};
//! use tower::ServiceExt;
//! use tower_ops_health::{Check, Health};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let health = Health::builder()
//!     .check(Check::new("db", || async { std::io::Result::Ok(()) }).critical())
//!     .build()?;
//! tokio::spawn(health.run());
//! let ask = || health.readiness().oneshot(Request::new(()));
//!
//! health.mark_ready();
//! assert_eq!(ask().await?.status(), StatusCode::SERVICE_UNAVAILABLE); // the check has not run yet
//! # let mut changes = health.changes();
//! # changes.next().await;
//! // A moment later:
//! assert_eq!(ask().await?.status(), StatusCode::OK);
//! health.mark_not_ready();
//! assert_eq!(ask().await?.status(), StatusCode::SERVICE_UNAVAILABLE);
//! # Ok(())
//! # }
//! ```
//!
//! # Checks
//!
//! - [`Health::run`] runs them: each on a task of its own and never twice at once, so many at a
//!   time, a little out of step. Panics and timeouts are failures. A check that hangs fails again
//!   with each period that passes.
//! - A check is [critical, degrading or informational](Kind). It is degrading unless told
//!   otherwise: readiness that hangs on a database which all instances share takes all of them
//!   out at once. A group's status is the worst of its checks', as far as their kind lets them;
//!   or what [you make of it](Group::aggregate).
//! - A result older than three periods is unknown. So is a check that has not run yet. In readiness
//!   that counts as down, in liveness as ok: a [`Group`] says otherwise.
//! - Liveness is no place for dependencies. It fails when the runtime that [`Health::run`] is on
//!   has not run a task for [30 s](HealthBuilder::stalled_after), as seen by [`Health::watch`] from
//!   another thread. A single blocked worker makes it degraded.
//!
//! # Answers
//!
//! Every service here answers by the same rules.
//!
//! | | Code | JSON | Text |
//! |---|---|---|---|
//! | ok | 200 | `{"status":"ok"}` | `ok` |
//! | degraded | 200, or [207](HealthBuilder::degraded_code) | `{"status":"degraded"}` | `degraded` |
//! | down, unknown | 503 | `{"status":"down"}` | `down` |
//! | neither GET nor HEAD | 405, with `allow: GET, HEAD` | `{"error":"method not allowed","allow":["GET","HEAD"]}` | `method not allowed: …` |
//! | no such check | 404 | `{"error":"unknown check"}` | `unknown check` |
//! | another path ([`Probes`] only) | 404 | `{"error":"not found","paths":[…]}` | `not found: …` |
//!
//! - The code is the answer: the kubelet, Envoy and load balancers read nothing else. The member is
//!   called `status`, as in Spring, with the same words for every probe: a process that is not ready
//!   is `down`, too (Spring says `OUT_OF_SERVICE`).
//! - Probes are usually open to anybody, so a body holds the status and nothing else. Whom
//!   [`Details`] allow sees `{"status":…,"available_checks":[…],"checks":{"db":{"status":…,
//!   "latency_ms":…,"detail":…,"error":…}}}`, or `[+]db ok` in text. A wrong token gets the public
//!   answer and a `www-authenticate`, and never 401.
//! - `checks=a,b` asks for those checks of the path only; `_defaults` among them stands for those
//!   in `readiness`. `exclude=c` leaves some out. `verbose` adds times, streaks and counts. A
//!   parameter that is none of these is skipped.
//! - The body is JSON, unless `accept` prefers `text/plain` to it, or names
//!   `application/health+json` (`pass`, `warn`, `fail`); an `accept` that allows none of them, or
//!   makes no sense, gets JSON. Each body ends in a newline.
//! - `content-type`, `content-length` and `cache-control: no-cache, no-store, must-revalidate` are
//!   always set. HEAD gets the headers that GET would, and no body.
//!
//! # Metrics
//!
//! | | |
//! |---|---|
//! | `dependency_up{name}` | 1 if a check is ok or degraded, 0 if it is down or unknown |
//! | `health_check_duration_seconds{name}` | how long runs took |
//! | `health_check_failures_total{name,reason}` | `down`, `timeout`, `panic`, `still_running` |
//! | `health_status{group}` | 1 if a group is ok, 0.5 if degraded, 0 if down |
//! | `health_runtime_stalled_seconds`, `health_runtime_blocked_workers` | what the watch sees |
//! | `db_pool_connections{name,state}` | of database pools that are checked |
//!
//! Each change of a check's status is an event of `tracing`; a run is not.
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
//! # Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `axum` | routes from `MatchedPath` for [`ShedLayer`] |
//! | `grpc` | `Health::grpc`: `grpc.health.v1` with Check, Watch and List, for tonic |
//!
//! Ready-made checks, of HTTP servers, disks, sqlx pools and more, are a crate of their own:
//! tower-ops-health-checks.
//!
//! # Limits
//!
//! - Without a [watch](Health::watch), liveness says that the runtime which serves it still answers,
//!   no more. If every worker of that runtime is blocked, the probe times out, which the kubelet
//!   counts as a failure as well.
//! - A check that spawns work and leaves it behind when it is dropped can pile that work up: only
//!   what it awaits, or does in [`Check::blocking`], is kept from running twice.
//! - Failing readiness does not stop traffic at once: keep serving for some seconds after
//!   [`mark_not_ready`], until whoever routes to you has noticed.
//!
//! [`drain`]: Health::drain
//! [`mark_started`]: Health::mark_started
//! [`mark_ready`]: Health::mark_ready
//! [`mark_not_ready`]: Health::mark_not_ready
//! [`Router::layer`]: https://docs.rs/axum/0.8/axum/struct.Router.html#method.layer

#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod builder;
mod check;
mod details;
mod entry;
mod error;
mod events;
mod group;
#[cfg(feature = "grpc")]
mod grpc;
mod handle;
mod heartbeat;
mod meters;
mod probe;
mod probes;
mod query;
mod render;
mod report;
mod response;
mod result;
mod route;
mod scheduler;
mod shared;
mod shed;
mod state;
mod status;
mod target;

pub use self::builder::{
    DEFAULT_BLOCKED_AFTER, DEFAULT_CONCURRENCY, DEFAULT_STALLED_AFTER, HealthBuilder,
};
pub use self::check::{
    Check, DEFAULT_PERIOD, DEFAULT_TIMEOUT, HealthCheck, LIVENESS, READINESS, STARTUP,
};
pub use self::details::{Allowed, Details, Token};
pub use self::error::CheckNowError;
pub use self::events::{Change, Changes};
pub use self::group::{Group, Standing};
#[cfg(feature = "grpc")]
#[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
pub use self::grpc::HealthServer;
pub use self::probe::{Checks, Liveness, Probe, Readiness, Startup};
pub use self::probes::Probes;
pub use self::report::{FailureReason, LastRun, Report};
pub use self::response::ProbeBody;
pub use self::result::{CheckResult, Observed};
pub use self::shed::{Shed, ShedFuture, ShedLayer};
pub use self::state::Health;
pub use self::status::{Kind, Status};
pub use tower_ops_core::config::ConfigError;
pub use tower_ops_core::secret::Secret;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
