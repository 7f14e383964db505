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
/// let stopped = lifecycle.run(); // listens to signals from here on
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
    /// Makes a lifecycle with the defaults of its [builder](LifecycleBuilder). Its uptime begins
    /// now.
    #[must_use]
    pub fn new() -> Self {
        LifecycleBuilder::new().into_lifecycle()
    }

    /// Begins to configure a lifecycle.
    #[must_use]
    pub fn builder() -> LifecycleBuilder {
        LifecycleBuilder::new()
    }

    /// Returns the current phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.state.phase()
    }

    /// Waits until `phase` or a later one is reached, and returns the phase then: phases can be
    /// short or skipped.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future loses nothing.
    pub async fn wait_for(&self, phase: Phase) -> Phase {
        self.state.reached(phase).await
    }

    /// Subscribes to the phases from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription::new(self.state.subscribe())
    }

    /// Begins the shutdown. Idempotent. Returns whether this call began it.
    ///
    /// The same as [`trigger`](Self::trigger) with [`Trigger::Api`].
    #[expect(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn shutdown(&self) -> bool {
        self.trigger(Trigger::Api)
    }

    /// Begins the shutdown because of `trigger`. Returns whether this call began it.
    ///
    /// The clock of the shutdown starts with the first trigger. The report lists later ones. A
    /// second signal ends the process [at once](LifecycleBuilder::on_second_signal), from within
    /// this call.
    ///
    /// The phase is [`Phase::PreDraining`] or later when this returns. [`run`](Self::run) carries
    /// out the rest.
    #[expect(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn trigger(&self, trigger: Trigger) -> bool {
        self.state.trigger(trigger)
    }

    /// Returns what began the shutdown.
    #[must_use]
    pub fn triggered_by(&self) -> Option<Trigger> {
        self.state.moments().first.map(|first| first.trigger)
    }

    /// Returns when the process has to have exited: the grace period after the first trigger.
    #[must_use]
    pub fn exit_deadline(&self) -> Option<Instant> {
        let first = self.state.moments().first?;
        Some(self.state.config.timeline.exit_deadline(first.at))
    }

    /// Starts the task that carries out the shutdown when it is triggered, and returns a future of
    /// the report.
    ///
    /// The call starts the task, and a thread that listens to signals. Call it early, and await the
    /// future at the end of `main`. All calls share one shutdown and one report.
    ///
    /// # Panics
    ///
    /// If called outside of a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the shutdown goes on if the future is dropped, and another call joins it. It
    /// ends early only with the runtime, and logs that.
    pub fn run(&self) -> impl Future<Output = ShutdownReport> + Send + use<> {
        driver::start(&self.state);
        let state = Arc::clone(&self.state);
        async move {
            loop {
                state.reached(Phase::Stopped).await;
                // Always there: it is stored before this phase.
                if let Some(report) = state.report() {
                    return report;
                }
            }
        }
    }

    /// Returns the report of the shutdown, once the process has stopped.
    #[must_use]
    pub fn shutdown_report(&self) -> Option<ShutdownReport> {
        self.state.report()
    }

    /// Makes a token that fires when the drain begins: for SSE, WebSockets and other work without
    /// an end of its own.
    #[must_use]
    pub fn drain_token(&self) -> DrainToken {
        DrainToken::new(Arc::clone(&self.state), Phase::Draining)
    }

    /// Makes a token that fires at the first trigger: for consumers of queues. No balancer sends
    /// them work, so they can stop at once.
    #[must_use]
    pub fn pre_drain_token(&self) -> DrainToken {
        DrainToken::new(Arc::clone(&self.state), Phase::PreDraining)
    }

    /// Returns what an accept loop touches for each new connection, for
    /// [`wait_for_quiet`](LifecycleBuilder::wait_for_quiet).
    #[must_use]
    pub fn activity(&self) -> Activity {
        self.state.activity()
    }

    /// Records that a listener is open. [`signal_to_stop`](Self::signal_to_stop) and
    /// [`with_deadline`](Self::with_deadline) do it, too.
    ///
    /// A process that is stopped before it was ready and before it served anything skips the
    /// pre-drain, as no client can know it.
    pub fn mark_serving(&self) {
        self.state.mark_serving();
    }

    /// Returns the time since this lifecycle was built.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.state.created.elapsed()
    }

    /// Sets `server_uptime_seconds` now. [`run`](Self::run) sets it every 5 s; call this before a
    /// scrape for the exact value.
    pub fn record_uptime(&self) {
        self.state.metrics.set_uptime(self.uptime());
    }

    /// Returns how often the process was restarted, if that is
    /// [counted](LifecycleBuilder::restart_count_file).
    #[must_use]
    pub fn restart_count(&self) -> Option<u64> {
        Some(self.state.restarts.as_ref()?.count)
    }

    /// Returns what was wrong with the file of the restart count.
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
