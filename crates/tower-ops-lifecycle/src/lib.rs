//! The life of a process: start-up steps, and a shutdown that loses nothing and never hangs.
//!
//! # Overview
//!
//! A [`Lifecycle`] is a cheap handle that every part of a process can own.
//!
//! | [`Phase`] | what it means | how long |
//! |---|---|---|
//! | `Starting` | [steps](Lifecycle::step) run | until all registered are done, or [`mark_ready`](Lifecycle::mark_ready) |
//! | `Ready` | ready for requests | until the first [`Trigger`] |
//! | `PreDraining` | not ready, and still serving | 5 s from the trigger, or until [it is quiet](LifecycleBuilder::wait_for_quiet) |
//! | `Draining` | accepts nothing new; then aborts; then runs hooks | at most 15 s, 1 s and 5 s |
//! | `Stopped` | the process may exit | |
//!
//! - There is one shutdown, whatever triggers it: SIGTERM, SIGINT, the
//!   [`prestop`](Lifecycle::prestop) service, [`shutdown`](Lifecycle::shutdown). Its clock begins
//!   with the first trigger. A second signal exits at once.
//! - [`run`](Lifecycle::run) carries it out, on a task of its own, and returns a
//!   [`ShutdownReport`].
//! - [`on_drain`](Lifecycle::on_drain) takes part in the drain, with a deadline.
//!   [`drain_guard`](Lifecycle::drain_guard) keeps the drain open. A
//!   [`drain_token`](Lifecycle::drain_token) signals streams to end.
//! - [`on_stop`](Lifecycle::on_stop) registers hooks. They have names, the last registered runs
//!   first, telemetry runs last, and each has its share of the time.
//! - [`signal_to_stop`](Lifecycle::signal_to_stop) and
//!   [`with_deadline`](Lifecycle::with_deadline) are for `axum::serve` and tonic;
//!   [`connection_close`](Lifecycle::connection_close) lets HTTP/1 clients reconnect elsewhere.
//!
//! # Example
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use tokio::net::TcpListener;
//! use tower_ops_lifecycle::Lifecycle;
//! # async fn connect() -> std::io::Result<Pool> { Ok(Pool) }
//! # struct Pool;
//! # impl Pool { async fn close(self) -> std::io::Result<()> { Ok(()) } }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let lifecycle = Lifecycle::builder().expect_step("connect").build()?;
//! let stopped = lifecycle.run(); // listens to signals from here on
//!
//! let pool = lifecycle.step("connect", connect()).await?;
//! lifecycle.on_stop("pool", async || pool.close().await);
//!
//! let app: Router = Router::new()
//!     .route("/", get(|| async { "hello" }))
//!     .layer(lifecycle.connection_close());
//! let listener = TcpListener::bind("0.0.0.0:3000").await?;
//! let serve = axum::serve(listener, app).with_graceful_shutdown(lifecycle.signal_to_stop());
//! lifecycle.with_deadline(serve).await??;
//! lifecycle.shutdown(); // if the server ended by itself
//! println!("{}", stopped.await);
//! # Ok(())
//! # }
//! ```
//!
//! # Why it still serves after SIGTERM
//!
//! Kubernetes takes a pod out of its endpoints and sends SIGTERM at the same time. It takes some
//! seconds until every node and balancer knows. Until then requests come, and a process that has
//! closed its listener refuses them. So it has to serve on. Answer readiness from
//! [`Lifecycle::phase`], and liveness without it: a process that drains must not be restarted.
//!
//! # Metrics
//!
//! | name | |
//! |---|---|
//! | `lifecycle_phase{phase}` | 1 for the phase it is in, 0 for the others |
//! | `startup_duration_seconds`, `shutdown_duration_seconds` | how long each took |
//! | `server_started_total`, `server_stopped_total` | 1 once it was ready, once it stopped |
//! | `server_uptime_seconds` | how long the process has been running; set every 5 s |
//! | `server_workers` | worker threads of the runtime, or [what you set](LifecycleBuilder::workers) |
//! | `server_aborted_exchanges_total` | what a drain aborted |
//! | `restart_count` | only with a [file](LifecycleBuilder::restart_count_file) |
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `systemd` | `notify_systemd`: READY=1 and STOPPING=1; `ActivatedSockets`: sockets that systemd opened. Unix only |
//!
//! # Limits
//!
//! - If all threads of the runtime are blocked, a signal still changes the phase and
//!   [ends the process](LifecycleBuilder::exit_when_overdue), but nothing drains and no hook runs.
//! - When the shutdown is over, `main` has to return. A runtime that is dropped waits for tasks
//!   that never wait, and for what `spawn_blocking` has begun. A process that got a signal [exits
//!   all the same](LifecycleBuilder::exit_when_overdue); any other has to use
//!   `Runtime::shutdown_timeout`.
//! - Dropping `axum::serve` at the deadline does not drop the connections that it spawned. They are
//!   cut when the process exits, without a report.
//! - A task that computes without ever waiting cannot be aborted. It is left running.
//! - On platforms without signals, only Ctrl-C triggers a shutdown.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod activity;
mod builder;
mod connection_close;
mod drain;
mod driver;
mod hooks;
mod lifecycle;
mod metrics;
mod phase;
mod prestop;
mod report;
mod restart_count;
mod signals;
mod startup;
#[cfg(all(unix, feature = "systemd"))]
mod systemd;
mod timeline;

pub use self::activity::Activity;
pub use self::builder::{
    DEFAULT_ABORT_TIMEOUT, DEFAULT_DRAIN_TIMEOUT, DEFAULT_GRACE_PERIOD, DEFAULT_HOOKS_TIMEOUT,
    DEFAULT_MARGIN, DEFAULT_PRE_DRAIN, LifecycleBuilder,
};
pub use self::connection_close::{ConnectionClose, ConnectionCloseLayer, ResponseFuture};
pub use self::drain::{DeadlineElapsed, Drain, DrainGuard, DrainToken};
pub use self::hooks::{Hook, HookOutput};
pub use self::lifecycle::Lifecycle;
pub use self::phase::{Phase, Subscription, Trigger};
pub use self::prestop::{PreStop, PreStopFuture};
pub use self::report::{
    HookOutcome, HookReport, ParticipantOutcome, ParticipantReport, PreDrainEnd, ShutdownEnding,
    ShutdownReport,
};
pub use self::startup::StepError;
pub use self::startup::report::{StartupReport, StepReport, StepState};
#[cfg(all(unix, feature = "systemd"))]
#[cfg_attr(docsrs, doc(cfg(feature = "systemd")))]
pub use self::systemd::ActivatedSockets;
pub use tower_ops_core::config::ConfigError;
pub use tower_ops_core::http::AnswerBody;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
