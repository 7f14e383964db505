use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;
use tokio::time::Instant;
use tower_ops_core::panic::catch;
use tower_ops_core::sync::Mutex;

use crate::activity::Activity;
use crate::builder::Config;
use crate::drain::DrainState;
use crate::hooks::Hooks;
use crate::metrics::LifecycleMetrics;
use crate::phase::{Phase, Trigger, Triggered};
use crate::report::{Progress, ShutdownEnding, ShutdownReport};
use crate::restart_count::Restarts;
use crate::signals;
use crate::startup::report::Steps;

/// What all handles of a lifecycle share.
pub(crate) struct LifecycleState {
    pub(crate) config: Config,
    pub(crate) created: Instant,
    pub(crate) metrics: LifecycleMetrics,
    pub(crate) restarts: Option<Restarts>,
    /// The same as in the channel. Cheap enough to read it for each request.
    phase: AtomicU8,
    phases: watch::Sender<Phase>,
    moments: Mutex<Moments>,
    pub(crate) steps: Mutex<Steps>,
    pub(crate) drain: DrainState,
    pub(crate) hooks: Mutex<Hooks>,
    pub(crate) progress: Mutex<Progress>,
    activity: Activity,
    activity_taken: AtomicBool,
    serving: AtomicBool,
    pub(crate) driven: AtomicBool,
    pub(crate) overdue_watched: AtomicBool,
    report: OnceLock<ShutdownReport>,
}

/// How many triggers after the first are kept.
const MOST_LATER: usize = 16;

/// When the process got ready, and what triggered its shutdown when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moments {
    pub(crate) first: Option<Triggered>,
    pub(crate) later: Vec<Triggered>,
    signals: u32,
    pub(crate) ready: Option<Instant>,
}

impl Moments {
    pub(crate) const fn was_signalled(&self) -> bool {
        self.signals > 0
    }
}

impl LifecycleState {
    pub(crate) fn new(
        config: Config,
        metrics: LifecycleMetrics,
        restarts: Option<Restarts>,
    ) -> Arc<Self> {
        let created = Instant::now();
        let steps = Mutex::new(Steps::new(&config.steps));
        Arc::new(Self {
            config,
            created,
            metrics,
            restarts,
            phase: AtomicU8::new(Phase::Starting.index()),
            phases: watch::Sender::new(Phase::Starting),
            moments: Mutex::default(),
            steps,
            drain: DrainState::default(),
            hooks: Mutex::default(),
            progress: Mutex::default(),
            activity: Activity::new(created),
            activity_taken: AtomicBool::new(false),
            serving: AtomicBool::new(false),
            driven: AtomicBool::new(false),
            overdue_watched: AtomicBool::new(false),
            report: OnceLock::new(),
        })
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::from_index(self.phase.load(Ordering::Acquire))
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Phase> {
        self.phases.subscribe()
    }

    /// Waits until the phase, or a later one, is reached.
    pub(crate) async fn reached(&self, phase: Phase) -> Phase {
        let mut phases = self.phases.subscribe();
        // It cannot fail: `self` has the sender.
        let reached = phases.wait_for(|now| *now >= phase).await;
        reached.map_or(Phase::Stopped, |reached| *reached)
    }

    /// Changes the phase, and is the only code that does. An earlier phase changes nothing.
    pub(crate) fn advance(&self, to: Phase) -> bool {
        let advanced = self.phases.send_if_modified(|phase| {
            let later = to > *phase;
            if later {
                *phase = to;
                // Under the channel's lock, so that neither of the two ever goes back.
                self.phase.store(to.index(), Ordering::Release);
                self.metrics.set_phase(to);
            }
            later
        });
        if advanced {
            tracing::info!(phase = to.as_str(), "the process is {to}");
        }
        advanced
    }

    pub(crate) fn moments(&self) -> Moments {
        self.moments.lock().clone()
    }

    /// Returns whether this call made the process ready.
    pub(crate) fn mark_ready(&self) -> bool {
        let now = Instant::now();
        {
            let mut moments = self.moments.lock();
            if moments.first.is_some() || moments.ready.is_some() {
                return false;
            }
            moments.ready = Some(now);
        }
        self.metrics.started(now - self.created);
        self.metrics.set_uptime(now - self.created);
        self.advance(Phase::Ready);
        true
    }

    /// Returns whether this was the first trigger.
    pub(crate) fn trigger(&self, trigger: Trigger) -> bool {
        let now = Triggered {
            trigger,
            at: Instant::now(),
        };
        let (first, exits) = {
            let mut moments = self.moments.lock();
            let first = moments.first.is_none();
            if first {
                moments.first = Some(now);
            } else if moments.later.len() < MOST_LATER {
                moments.later.push(now);
            }
            moments.signals += u32::from(trigger.is_signal());
            // Never at the first signal, not even if the process has stopped: the kubelet sends it
            // when the prestop hook was answered, and the shutdown may be over by then.
            (first, trigger.is_signal() && moments.signals > 1)
        };
        if first && trigger == Trigger::PreStop {
            signals::expect_terminate(self.config.timeline.exit_deadline(now.at));
        }
        if first {
            tracing::info!(trigger = trigger.as_str(), "the shutdown begins");
        }
        // Every trigger does this: the second one may get here before the first, and must not
        // return before the process is stopping.
        self.advance(Phase::PreDraining);
        // Here and not in the driver, as the driver may be what hangs.
        if exits {
            self.exit(trigger);
        }
        first
    }

    pub(crate) fn activity(&self) -> Activity {
        self.activity_taken.store(true, Ordering::Relaxed);
        self.activity.clone()
    }

    /// When the last new connection came. `Err` if that is not known.
    pub(crate) fn last_connection(&self) -> Result<Option<Instant>, ()> {
        if let Some(source) = &self.config.last_connection {
            // The source is the user's code: a panic in it must not end the shutdown.
            return catch(|| source()).map_err(drop);
        }
        if self.activity_taken.load(Ordering::Relaxed) {
            Ok(self.activity.last())
        } else {
            Err(())
        }
    }

    pub(crate) fn mark_serving(&self) {
        self.serving.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }

    pub(crate) fn report(&self) -> Option<ShutdownReport> {
        self.report.get().cloned()
    }

    /// Ends the shutdown.
    pub(crate) fn finish(&self, ending: ShutdownEnding) {
        if self.store_report(ending) {
            // After the report is stored: those that see this phase read it.
            self.advance(Phase::Stopped);
        }
    }

    fn exit(&self, signal: Trigger) {
        tracing::error!(trigger = signal.as_str(), "the process exits at once");
        self.exit_as(ShutdownEnding::SecondSignal(signal), signal);
    }

    /// Exits, as the process does not end by itself.
    pub(crate) fn exit_late(&self, signal: Trigger) {
        tracing::error!("the process did not end in time and exits: something blocks its runtime");
        self.exit_as(ShutdownEnding::Overdue, signal);
    }

    fn exit_as(&self, ending: ShutdownEnding, signal: Trigger) {
        // The phase advances only if the function below did not exit, also if it panicked. Earlier,
        // `main` could return as if all were well, before the exit.
        let _stopped = AdvanceOnDrop {
            state: self,
            is_first: self.store_report(ending),
        };
        // Always there: stored just now, or before.
        if let Some(report) = self.report.get() {
            (self.config.exit)(report, signal.exit_code());
        }
    }

    /// Stores and logs the report of the first end, and of no other. Returns whether this was it.
    fn store_report(&self, ending: ShutdownEnding) -> bool {
        let mut is_first = false;
        let report = self.report.get_or_init(|| {
            is_first = true;
            ShutdownReport::new(self, ending, Instant::now())
        });
        if is_first {
            self.metrics
                .stopped(report.trigger().map(|_| report.total()));
            self.metrics.set_uptime(report.uptime());
            self.metrics.aborted(report.aborted());
            report.log();
        }
        is_first
    }
}

struct AdvanceOnDrop<'a> {
    state: &'a LifecycleState,
    is_first: bool,
}

impl Drop for AdvanceOnDrop<'_> {
    fn drop(&mut self) {
        if self.is_first {
            self.state.advance(Phase::Stopped);
        }
    }
}

impl fmt::Debug for LifecycleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LifecycleState")
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}
