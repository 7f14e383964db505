use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::activity::Activity;
use crate::builder::LifecycleBuilder;
use crate::drain::DrainToken;
use crate::driver;
use crate::lifecycle::state::LifecycleState;
use crate::phase::{Phase, Subscription, Trigger};
use crate::report::ShutdownReport;

pub(crate) mod state;

/// The life of a process: a handle to its phase, its start-up and its shutdown.
///
/// Clones are cheap and share everything. Reading the phase is one atomic load.
///
/// # Examples
///
/// ```
/// use tower_ops_lifecycle::{Lifecycle, Phase};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let lifecycle = Lifecycle::new();
/// let stopped = lifecycle.run(); // signals are listened to from here on
/// lifecycle.mark_ready();
///
/// lifecycle.shutdown(); // or SIGTERM, SIGINT, GET /prestop
/// assert_eq!(lifecycle.phase(), Phase::PreDraining);
/// let report = stopped.await;
/// assert_eq!(lifecycle.phase(), Phase::Stopped);
/// println!("{report}");
/// # }
/// ```
#[derive(Clone)]
pub struct Lifecycle {
    pub(crate) state: Arc<LifecycleState>,
}

impl Lifecycle {
    /// Makes one with the defaults, which begins in this moment.
    #[must_use]
    pub fn new() -> Self {
        LifecycleBuilder::new().into_lifecycle()
    }

    /// Configures one.
    #[must_use]
    pub fn builder() -> LifecycleBuilder {
        LifecycleBuilder::new()
    }

    /// The phase of this moment.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.state.phase()
    }

    /// Waits until `phase`, or a later one, is reached, and tells which it is then:
    /// phases can be skipped, and can be short.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn wait_for(&self, phase: Phase) -> Phase {
        self.state.reached(phase).await
    }

    /// Watches the phases from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription::new(self.state.subscribe())
    }

    /// Begins the shutdown, and tells whether this was what began it.
    ///
    /// The same as [`trigger`](Self::trigger) with [`Trigger::Api`]. Idempotent.
    #[expect(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn shutdown(&self) -> bool {
        self.trigger(Trigger::Api)
    }

    /// Begins the shutdown on behalf of `trigger`, and tells whether this was what
    /// began it.
    ///
    /// The clock of the shutdown begins with the first trigger; later ones are only
    /// noted, in the report. But a signal after another signal ends the process
    /// [at once](LifecycleBuilder::on_second_signal), from within this call.
    ///
    /// The phase is [`Phase::PreDraining`] when this returns. The rest is carried
    /// out by [`run`](Self::run).
    #[expect(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn trigger(&self, trigger: Trigger) -> bool {
        self.state.trigger(trigger)
    }

    /// Who began the shutdown.
    #[must_use]
    pub fn triggered_by(&self) -> Option<Trigger> {
        self.state.moments().first.map(|first| first.trigger)
    }

    /// By when the process has to be gone: the grace period after the first trigger.
    #[must_use]
    pub fn exit_deadline(&self) -> Option<Instant> {
        let first = self.state.moments().first?;
        Some(self.state.config.timeline.exit_deadline(first.at))
    }

    /// Carries out the shutdown, once it is triggered, and reports it.
    ///
    /// From the call on, signals are listened to, by a thread of their own, and a task
    /// waits for the trigger: call it early, and await it at the end of `main`. All calls belong to
    /// one shutdown and get one report.
    ///
    /// # Panics
    ///
    /// If called outside of a tokio runtime with time enabled (and I/O, for signals).
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time: the shutdown goes on, and the next call joins it.
    /// It ends early only with the runtime, and says so in the log.
    pub fn run(&self) -> impl Future<Output = ShutdownReport> + Send + use<> {
        driver::start(&self.state);
        let state = Arc::clone(&self.state);
        async move {
            loop {
                state.reached(Phase::Stopped).await;
                // Always there: it is stored before the phase is reached.
                if let Some(report) = state.report() {
                    return report;
                }
            }
        }
    }

    /// The report of the shutdown, once the process has stopped.
    #[must_use]
    pub fn shutdown_report(&self) -> Option<ShutdownReport> {
        self.state.report()
    }

    /// Fires when the drain begins: for SSE, WebSockets and whatever else has no
    /// end of its own.
    #[must_use]
    pub fn drain_token(&self) -> DrainToken {
        DrainToken::new(Arc::clone(&self.state), Phase::Draining)
    }

    /// Fires at the trigger already: for consumers of queues, which need no time to
    /// be noticed and should take nothing more.
    #[must_use]
    pub fn pre_drain_token(&self) -> DrainToken {
        DrainToken::new(Arc::clone(&self.state), Phase::PreDraining)
    }

    /// What an accept loop touches for each new connection, so that
    /// [`wait_for_quiet`](LifecycleBuilder::wait_for_quiet) knows of them.
    #[must_use]
    pub fn activity(&self) -> Activity {
        self.state.activity()
    }

    /// Says that a listener is open. [`signal_to_stop`](Self::signal_to_stop) and
    /// [`with_deadline`](Self::with_deadline) imply it.
    ///
    /// A process that is stopped before it was ready and before it served anything has
    /// nobody to wait for, and skips the pre-drain.
    pub fn mark_serving(&self) {
        self.state.mark_serving();
    }

    /// How long ago this lifecycle was built.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.state.created.elapsed()
    }

    /// Sets `server_uptime_seconds` now. [`run`](Self::run) does every 5 s; call it
    /// before a scrape for more.
    pub fn record_uptime(&self) {
        self.state.metrics.set_uptime(self.uptime());
    }

    /// How often the process was restarted, if that is
    /// [counted](LifecycleBuilder::restart_count_file).
    #[must_use]
    pub fn restart_count(&self) -> Option<u64> {
        Some(self.state.restarts.as_ref()?.count)
    }

    /// What was wrong with the file of the restart count.
    #[must_use]
    pub fn restart_count_problem(&self) -> Option<&str> {
        self.state.restarts.as_ref()?.problem.as_deref()
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifecycle")
            .field("phase", &self.phase())
            .field("triggered_by", &self.triggered_by())
            .finish_non_exhaustive()
    }
}
