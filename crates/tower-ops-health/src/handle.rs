use std::future::Future;

use tower_ops_core::config::ConfigError;

use crate::check::Check;
use crate::error::CheckNowError;
use crate::events::Changes;
use crate::report::Report;
use crate::scheduler;
use crate::state::Health;
use crate::status::Status;

/// The checks of a process.
impl Health {
    /// Runs the checks. Spawn it on the application's runtime, which is from then on also the
    /// one that [`watch`](Self::watch) watches.
    ///
    /// Each check runs on a task of its own, never twice at once; a panic in it is a failed
    /// run. Added checks are taken up, removed ones ended. If it is spawned twice, the second
    /// waits for the end of the first. It ends with the last other handle, and every service
    /// made from it.
    ///
    /// # Cancel safety
    ///
    /// Dropping it aborts the runs that are on; what they had found by then stays, and is
    /// unknown once it is too old.
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
        scheduler::run(&self.shared)
    }

    /// Watches the runtime that [`run`](Self::run) runs on: liveness answers 503 when it has
    /// not run a task for [`stalled_after`](crate::HealthBuilder::stalled_after), and 200 as
    /// soon as it does again.
    ///
    /// Run it, and the services, on another thread with a runtime of its own: on the one that
    /// it watches it would stall with it. Also notices results that have become too old while
    /// nobody runs checks, and has a thread tell whoever listens. Ends as `run` does.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends the watch: liveness is then what the checks say.
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
        scheduler::watch(&self.shared)
    }

    /// Adds a check while others run.
    ///
    /// # Errors
    ///
    /// If its configuration is invalid, its group is not declared, or there is one of its
    /// name; the error lists every problem.
    pub fn add(&self, check: Check) -> Result<(), ConfigError> {
        self.shared.add(check)
    }

    /// Removes a check, and aborts its run. Tells whether there was one of that name.
    ///
    /// Its `dependency_up` becomes NaN: a gauge cannot be taken out, and neither 1 nor 0 would
    /// be true.
    #[must_use = "false means that there was no such check"]
    pub fn remove(&self, name: &str) -> bool {
        self.shared.remove(name)
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
        scheduler::check_now(&self.shared, name).await
    }

    /// How a check stands.
    #[must_use]
    pub fn report(&self, name: &str) -> Option<Report> {
        Some(self.shared.entry(name)?.report())
    }

    /// How all checks stand, by name.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        let entries = self.shared.entries();
        entries.values().map(|entry| entry.report()).collect()
    }

    /// How a group stands, as its path answers: `readiness`, `liveness`, `startup`, or a
    /// declared one. `None` if there is no such group; never [`Status::Unknown`].
    #[must_use]
    pub fn status(&self, group: &str) -> Option<Status> {
        let group = self.shared.groups.get(group)?;
        Some(self.shared.group_status(group))
    }

    /// The changes of all checks from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        self.shared.listeners.subscribe()
    }
}
