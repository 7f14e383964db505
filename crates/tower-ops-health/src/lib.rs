//! Health of a process: probes that answer at once, and checks that run on their own.
//!
//! # Overview
//!
//! A [`Health`] is a cheap handle to the health of a process: what the process declares
//! ([`mark_started`], [`mark_ready`], [`mark_not_ready`], [`mark_draining`]), what its [`Check`]s have found,
//! and whether its runtime still runs. Services made from it answer probes:
//!
//! | Path in [`Probes`] | Question | 200 | 503 |
//! |---|---|---|---|
//! | `/health` | Must the process be restarted? | the runtime runs tasks | it has not for 30 s |
//! | `/ready` | May it be sent requests? | marked ready, and no critical check down | otherwise |
//! | `/startup` | Has it finished starting? | marked started once, for good | before |
//! | `/health/ping` | Can it answer? | always | never |
//! | `/health/{check}` | How is this check, or group? | ok, degraded | down, unknown |
//! | `/checks` | How are all checks? | no critical one is down | otherwise |
//!
//! A probe reads the last results only: it does no I/O, awaits nothing, and its future is a
//! [`std::future::Ready`]. Probes put no load on a database, however many there are.
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
//! let probe = || health.readiness().oneshot(Request::new(()));
//!
//! health.mark_ready();
//! assert_eq!(probe().await?.status(), StatusCode::SERVICE_UNAVAILABLE); // the check has not run yet
//! # let mut changes = health.changes();
//! # changes.next().await;
//! // A moment later:
//! assert_eq!(probe().await?.status(), StatusCode::OK);
//! health.mark_not_ready();
//! assert_eq!(probe().await?.status(), StatusCode::SERVICE_UNAVAILABLE);
//! # Ok(())
//! # }
//! ```
//!
//! # Checks
//!
//! - [`Health::run`] runs them: each on a task of its own and never twice at once, a bounded number
//!   at a time, a little out of step. Panics and timeouts are failures. A check that hangs fails
//!   again with each period that passes.
//! - A check is [critical, degrading or informational](CheckKind). The default is degrading: a critical
//!   check of a database that all instances share takes all of them out at once. The status of a
//!   group is the worst of its checks', as far as their kinds allow, or is made by
//!   [a closure](Group::aggregate).
//! - A check is unknown if it has not run yet, or if its last result is older than three periods.
//!   Unknown counts as down, and as ok in liveness. A [`Group`] can change that.
//! - Dependencies do not belong in liveness. It fails when the runtime of [`Health::run`] has not
//!   run a task for [30 s](HealthBuilder::stalled_after), as [`Health::watch`] detects from another
//!   thread. A single blocked worker makes it degraded.
//! - Ready-made checks, of HTTP servers, disks, sqlx pools and more, are a crate of their own:
//!   tower-ops-health-checks.
//!
//! # Answers
//!
//! All services answer by the same rules.
//!
//! | | Code | JSON | Text |
//! |---|---|---|---|
//! | ok | 200 | `{"status":"ok"}` | `ok` |
//! | degraded | 200, or [207](HealthBuilder::degraded_code) | `{"status":"degraded"}` | `degraded` |
//! | down, unknown | 503 | `{"status":"down"}` | `down` |
//! | neither GET, HEAD nor OPTIONS | 405, with `allow: GET, HEAD, OPTIONS` | `{"error":"method not allowed","allow":["GET","HEAD"]}` | `method not allowed: …` |
//! | no such check | 404 | `{"error":"unknown check"}` | `unknown check` |
//! | another path ([`Probes`] only) | 404 | `{"error":"not found","paths":[…]}` | `not found: …` |
//!
//! - The kubelet, Envoy and load balancers read the code only. The member `status` is that of
//!   Spring, with the same words for every probe: a process that is not ready is `down`, where
//!   Spring has `OUT_OF_SERVICE`.
//! - Probes are usually public, so that a body contains the status and nothing else. With
//!   [`Details`] it is `{"status":…,"available_checks":[…],"checks":{"db":{"status":…,
//!   "latency_ms":…,"detail":…,"error":…}}}`, or `[+]db ok` in text. A wrong token gets the public
//!   answer and a `www-authenticate`, and never 401.
//! - `checks=a,b` selects those checks of the path; `_defaults` stands for the checks in
//!   `readiness`. `exclude=c` leaves some out. `verbose` adds times, streaks and counts. Other
//!   parameters are skipped.
//! - The body is JSON, unless `accept` prefers `text/plain`, or names `application/health+json`
//!   (`pass`, `warn`, `fail`). An `accept` that allows none of them, or cannot be read, gets JSON.
//!   Each body ends in a newline.
//! - `content-type`, `content-length`, `x-content-type-options: nosniff` and `cache-control:
//!   no-cache, no-store, must-revalidate` are always set. HEAD gets the headers of GET, and no body.
//!   OPTIONS gets the code of GET and `allow`, and no body.
//!
//! # Metrics
//!
//! | | |
//! |---|---|
//! | `dependency_up{name}` | 1 if a check is ok or degraded, 0 if it is down or unknown |
//! | `health_check_duration_seconds{name}` | how long runs took |
//! | `health_check_failures_total{name,reason}` | `down`, `timeout`, `panic`, `still_running` |
//! | `health_status{group}` | 1 if a group is ok, 0.5 if degraded, 0 if down |
//! | `health_runtime_stalled_seconds`, `health_runtime_blocked_workers` | what the [watch](Health::watch) has detected |
//!
//! Each change of a check's status is an event of `tracing`. A run is not.
//!
//! # Place in the stack
//!
//! Outside of authentication, rate limits, tracing and metrics: a probe that is refused with 401 or
//! 429 restarts healthy processes. In axum, add the probes *after* the layers, since
//! [`Router::layer`] wraps only what was added before it. A port of their own is better still.
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
//! # Limits
//!
//! - Without a [watch](Health::watch), liveness shows only that the runtime which serves it answers.
//!   If every worker of that runtime is blocked, the probe times out, which is a failure for the
//!   kubelet, too.
//! - A check that spawns work and leaves it behind when it is dropped can pile that work up: only
//!   what it awaits, or does in [`Check::blocking`], never runs twice at once.
//! - Failing readiness does not stop traffic at once: keep serving for some seconds after
//!   [`mark_not_ready`], until load balancers have detected it.
//!
//! [`mark_draining`]: Health::mark_draining
//! [`mark_started`]: Health::mark_started
//! [`mark_ready`]: Health::mark_ready
//! [`mark_not_ready`]: Health::mark_not_ready
//! [`Router::layer`]: https://docs.rs/axum/0.8/axum/struct.Router.html#method.layer

#![cfg_attr(docsrs, feature(doc_cfg))]

mod changes;
mod check;
mod details;
mod group;
#[cfg(feature = "grpc")]
mod grpc;
mod health;
mod heartbeat;
mod http;
mod meters;
mod scheduler;
mod shed;
mod status;

pub use self::changes::{Change, Changes};
pub use self::check::{
    Check, CheckResult, DEFAULT_PERIOD, DEFAULT_TIMEOUT, FailureReason, HealthCheck, LIVENESS,
    LastRun, Measurement, READINESS, Report, STARTUP,
};
pub use self::details::Details;
pub use self::group::{Group, Standing};
#[cfg(feature = "grpc")]
#[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
pub use self::grpc::HealthServer;
pub use self::health::{
    CheckNowError, DEFAULT_BLOCKED_AFTER, DEFAULT_CONCURRENCY, DEFAULT_STALLED_AFTER, Health,
    HealthBuilder,
};
pub use self::http::{Probe, ProbeService, Probes};
pub use self::shed::{Shed, ShedFuture, ShedLayer};
pub use self::status::{CheckKind, Status};
pub use tower_ops_core::config::ConfigError;
pub use tower_ops_core::http::AnswerBody;
pub use tower_ops_core::secret::Secret;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
