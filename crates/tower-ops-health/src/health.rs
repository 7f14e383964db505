//! The handle to the health of a process.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tower_ops_core::config::ConfigError;

mod builder;
mod health_inner;

pub use self::builder::{
    DEFAULT_BLOCKED_AFTER, DEFAULT_CONCURRENCY, DEFAULT_STALLED_AFTER, HealthBuilder,
};
pub(crate) use self::health_inner::HealthInner;
use crate::changes::Changes;
use crate::check::{Check, Report};
use crate::http::{Probe, ProbeService, Probes};
use crate::scheduler;
use crate::status::Status;

/// The health of a process: whether it has started and is ready, and its checks.
///
/// Clones are cheap and share one state: keep one where the process starts and stops, and give the
/// services made from it to a router. A new handle is live, not started and not ready. Marking is
/// idempotent, never waits, and works from any thread, inside of a runtime or not.
///
/// # Examples
///
/// ```
/// use tower_ops_health::Health;
///
/// let health = Health::new();
/// let elsewhere = health.clone();
/// assert!(!elsewhere.is_ready());
///
/// health.mark_ready();
/// assert!(elsewhere.is_ready() && elsewhere.is_started());
///
/// health.mark_not_ready();
/// assert!(!elsewhere.is_ready() && elsewhere.is_started());
/// ```
#[derive(Clone)]
pub struct Health {
    pub(crate) inner: Arc<HealthInner>,
}

/// The process's own word.
impl Health {
    /// Makes a handle with the defaults and without checks. They can be [added](Self::add).
    #[must_use]
    pub fn new() -> Self {
        let built = Self::builder().build();
        built.expect("the defaults are valid")
    }

    /// Returns a builder with the defaults and without checks.
    pub const fn builder() -> HealthBuilder {
        HealthBuilder::new()
    }

    /// Declares that the process wants requests. Start-up is over then, too.
    pub fn mark_ready(&self) {
        self.inner.update_flags(|flags| {
            flags.started = true;
            flags.ready = true;
        });
    }

    /// Declares that the process wants no requests for now: it is about to stop, or cannot serve.
    ///
    /// Liveness and start-up stay as they are. Traffic does not end with this call: keep serving
    /// for some seconds, until load balancers have detected it.
    pub fn mark_not_ready(&self) {
        self.inner.update_flags(|flags| flags.ready = false);
    }

    /// Declares that the process is stopping: it is not ready any more, and
    /// [`mark_ready`](Self::mark_ready) has no effect from now on.
    ///
    /// gRPC watches are notified and stay open: call [`close_watches`](Self::close_watches) when
    /// the server accepts no more.
    pub fn mark_draining(&self) {
        self.inner.update_flags(|flags| flags.draining = true);
    }

    /// Ends each gRPC watch, and [declares that the process is stopping](Self::mark_draining).
    ///
    /// Call it when the server accepts no more and has sent GOAWAY. Before that a client would open
    /// the next watch at once, again and again; without it an open watch would keep a graceful
    /// shutdown waiting for ever.
    pub fn close_watches(&self) {
        self.inner.update_flags(|flags| {
            flags.draining = true;
            flags.closed = true;
        });
    }

    /// Declares that start-up is over, for the rest of the process's life.
    ///
    /// Call it when the slow part (migrations, warm-up) is done. [`mark_ready`](Self::mark_ready)
    /// implies it.
    pub fn mark_started(&self) {
        self.inner.update_flags(|flags| flags.started = true);
    }

    /// Returns whether the process has declared that it wants requests. Checks may contradict:
    /// [`status`](Self::status) considers both.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.inner.flags().ready
    }

    /// Returns whether the process has declared that start-up is over.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.inner.flags().started
    }

    /// Waits until the process has declared that it is ready; returns at once if it has.
    ///
    /// The task reads the state when it runs: it may miss a ready moment that has ended by then,
    /// and the process may be not ready again when the caller goes on.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future loses nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_ops_health::Health;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let health = Health::new();
    /// let starting = health.clone();
    /// tokio::spawn(async move { starting.mark_ready() });
    ///
    /// health.ready().await;
    /// assert!(health.is_ready());
    /// # }
    /// ```
    pub async fn ready(&self) {
        let mut flags = self.inner.subscribe_flags();
        // Fails only without a sender, which `self` holds.
        let _ = flags.wait_for(|flags| flags.ready).await;
    }
}

/// The services.
impl Health {
    /// Returns a service that answers whether the process must be restarted.
    ///
    /// It answers 200 while the process is starting, not ready, or draining: a restart would help
    /// none of these. 503 means that the application's runtime is stalled, which needs a
    /// [watch](Self::watch) on another thread, or that a critical check in the group `liveness` is
    /// down.
    #[must_use]
    pub fn liveness(&self) -> ProbeService {
        ProbeService::new(self.clone(), Probe::Liveness)
    }

    /// Returns a service that answers whether the process may be sent requests.
    ///
    /// It answers 503 until [`mark_ready`](Self::mark_ready), after
    /// [`mark_not_ready`](Self::mark_not_ready) or [`mark_draining`](Self::mark_draining), and while a critical
    /// check is down; otherwise 200.
    #[must_use]
    pub fn readiness(&self) -> ProbeService {
        ProbeService::new(self.clone(), Probe::Readiness)
    }

    /// Returns a service that answers whether start-up is over.
    ///
    /// It answers 503 until [`mark_started`](Self::mark_started) or
    /// [`mark_ready`](Self::mark_ready), and until each critical check in the group `startup` has
    /// passed once; 200 ever after, ready or not.
    #[must_use]
    pub fn startup(&self) -> ProbeService {
        ProbeService::new(self.clone(), Probe::Startup)
    }

    /// Returns a service that lists all checks, or those that the query names, as `/checks` does.
    #[must_use]
    pub fn checks(&self) -> ProbeService {
        ProbeService::checks(self.clone())
    }

    /// Returns one service for all, each at its own path.
    #[must_use]
    pub fn probes(&self) -> Probes {
        Probes::new(self.clone())
    }
}

/// The checks.
impl Health {
    /// Runs the checks. Spawn it on the application's runtime, which is from then on also the one
    /// that [`watch`](Self::watch) watches.
    ///
    /// Each check runs on a task of its own, never twice at once; a panic in it is a failed run.
    /// Added checks are started, removed ones are ended. If it is spawned twice, the second waits
    /// for the end of the first. It ends with the last other handle, and every service made from
    /// it.
    ///
    /// # Cancel safety
    ///
    /// Dropping it aborts the runs that are on. Their checks keep the last results, and are unknown
    /// once these are too old.
    ///
    /// # Panics
    ///
    /// When polled outside of a tokio runtime with its timer enabled.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_ops_health::{Check, Health, Status};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let health = Health::builder()
    ///     .check(Check::always_ok("db").critical())
    ///     .build()?;
    /// tokio::spawn(health.run());
    /// health.mark_ready();
    ///
    /// let report = loop {
    ///     match health.check_now("db").await {
    ///         Ok(report) => break report,
    ///         // The spawned task has not been polled yet.
    ///         Err(_) => tokio::task::yield_now().await,
    ///     }
    /// };
    /// assert_eq!(report.status, Status::Ok);
    /// assert_eq!(health.status("readiness"), Some(Status::Ok));
    /// # Ok(())
    /// # }
    /// ```
    pub fn run(&self) -> impl Future<Output = ()> + Send + use<> {
        scheduler::run(&self.inner)
    }

    /// Watches the runtime that [`run`](Self::run) runs on: liveness answers 503 when it has
    /// not run a task for [`stalled_after`](HealthBuilder::stalled_after), and 200 as soon as it
    /// does again.
    ///
    /// Run it, and the services, on another thread with a runtime of its own: on the watched one
    /// it would stall with it. It also detects results that have become too old while nobody runs
    /// checks, and publishes that from a thread. Ends as `run` does.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends the watch: liveness then depends on its checks only.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use tower_ops_health::Health;
    ///
    /// #[tokio::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let health = Health::new();
    ///     tokio::spawn(health.run());
    ///     let (watch, probes) = (health.watch(), health.probes());
    ///     std::thread::spawn(move || {
    ///         let runtime = tokio::runtime::Builder::new_current_thread()
    ///             .enable_all()
    ///             .build()
    ///             .unwrap();
    ///         runtime.block_on(async {
    ///             tokio::spawn(watch);
    ///             let listener = tokio::net::TcpListener::bind("0.0.0.0:8080").await?;
    ///             let router = axum::Router::new().fallback_service(probes);
    ///             axum::serve(listener, router).await
    ///         })
    ///     });
    ///     // The application goes on here.
    ///     Ok(())
    /// }
    /// ```
    pub fn watch(&self) -> impl Future<Output = ()> + Send + use<> {
        scheduler::watch(&self.inner)
    }

    /// Adds a check while others run.
    ///
    /// # Errors
    ///
    /// If its configuration is invalid, its group is not declared, or there is one of its
    /// name; the error lists every problem.
    pub fn add(&self, check: Check) -> Result<(), ConfigError> {
        self.inner.add(check)
    }

    /// Removes a check, and aborts its run. Returns whether there was one of that name.
    ///
    /// Its `dependency_up` becomes NaN: a gauge cannot be removed, and neither 1 nor 0 would be
    /// true.
    #[must_use = "false means that there was no such check"]
    pub fn remove(&self, name: &str) -> bool {
        self.inner.remove(name)
    }

    /// Runs a check now, or joins the run that is on, and returns its report.
    ///
    /// # Errors
    ///
    /// If there is no such check, or nobody polls [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the run goes on.
    pub async fn check_now(&self, name: &str) -> Result<Report, CheckNowError> {
        scheduler::check_now(&self.inner, name).await
    }

    /// Returns the status of a check and its last result.
    #[must_use]
    pub fn report(&self, name: &str) -> Option<Report> {
        Some(self.inner.entry(name)?.report())
    }

    /// Returns the same of all checks, by name.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        let entries = self.inner.entries();
        entries.values().map(|entry| entry.report()).collect()
    }

    /// Returns the status of a group, as its path answers: `readiness`, `liveness`, `startup`, or a
    /// declared one. `None` if there is no such group; never [`Status::Unknown`].
    #[must_use]
    pub fn status(&self, group: &str) -> Option<Status> {
        let group = self.inner.groups.get(group)?;
        Some(self.inner.group_status(group))
    }

    /// Subscribes to the changes of all checks from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        self.inner.listeners.subscribe()
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = self.inner.flags();
        let checks: Vec<_> = self.inner.entries().keys().cloned().collect();
        f.debug_struct("Health")
            .field("started", &flags.started)
            .field("ready", &flags.ready)
            .field("checks", &checks)
            .finish()
    }
}

/// Why a check could not be run now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckNowError {
    /// There is no check of that name.
    NoSuchCheck,
    /// Checks do not run: see [`Health::run`].
    NotRunning,
}

impl fmt::Display for CheckNowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchCheck => "there is no check of that name",
            Self::NotRunning => "checks do not run: nothing polls Health::run",
        })
    }
}

impl Error for CheckNowError {}
