use std::time::Duration;

use metrics::{Counter, Gauge, Label};
use tower_ops_core::recorder::{Description, RecorderHandle};

use crate::phase::Phase;
use crate::restart_count::Restarts;

const STARTUP: &str = "startup_duration_seconds";
const SHUTDOWN: &str = "shutdown_duration_seconds";
const STARTED: &str = "server_started_total";
const STOPPED: &str = "server_stopped_total";
const UPTIME: &str = "server_uptime_seconds";
const WORKERS: &str = "server_workers";
const RESTARTS: &str = "restart_count";
const PHASE: &str = "lifecycle_phase";
const ABORTED: &str = "server_aborted_exchanges_total";

const DESCRIPTIONS: &[Description] = &[
    Description::gauge(STARTUP, "How long the process took to be ready"),
    Description::gauge(SHUTDOWN, "How long the shutdown took"),
    Description::counter(STARTED, "How often the server became ready"),
    Description::counter(STOPPED, "How often the server stopped"),
    Description::gauge(UPTIME, "How long the process has been running"),
    Description::gauge(WORKERS, "Worker threads of the server's runtime"),
    Description::gauge(RESTARTS, "How often the process was restarted"),
    Description::gauge(PHASE, "1 for the phase that the process is in"),
    Description::counter(ABORTED, "What a shutdown had to abort"),
];

/// The handles of the metrics, registered when the lifecycle is built.
pub(crate) struct LifecycleMetrics {
    startup: Gauge,
    shutdown: Gauge,
    started: Counter,
    stopped: Counter,
    uptime: Gauge,
    workers: Gauge,
    phases: [Gauge; Phase::ALL.len()],
    aborted: Counter,
}

impl LifecycleMetrics {
    pub(crate) fn register(recorder: &RecorderHandle, restarts: Option<&Restarts>) -> Self {
        recorder.describe(DESCRIPTIONS);
        let gauge = |name| recorder.gauge(name, &[]);
        let counter = |name| recorder.counter(name, &[]);
        let phase = |phase: Phase| {
            let label = Label::from_static_parts("phase", phase.as_str());
            recorder.gauge(PHASE, &[label])
        };
        let metrics = Self {
            startup: gauge(STARTUP),
            shutdown: gauge(SHUTDOWN),
            started: counter(STARTED),
            stopped: counter(STOPPED),
            uptime: gauge(UPTIME),
            workers: gauge(WORKERS),
            phases: Phase::ALL.map(phase),
            aborted: counter(ABORTED),
        };
        // The series exist from the first scrape on.
        metrics.started.increment(0);
        metrics.stopped.increment(0);
        metrics.aborted.increment(0);
        metrics.set_phase(Phase::Starting);
        if let Some(restarts) = restarts {
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 restarts")]
            gauge(RESTARTS).set(restarts.count as f64);
        }
        metrics
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        for (other, gauge) in Phase::ALL.into_iter().zip(&self.phases) {
            gauge.set(if other == phase { 1.0 } else { 0.0 });
        }
    }

    pub(crate) fn started(&self, took: Duration) {
        self.startup.set(took.as_secs_f64());
        self.started.increment(1);
    }

    /// `None` if the process ended without a shutdown.
    pub(crate) fn stopped(&self, took: Option<Duration>) {
        if let Some(took) = took {
            self.shutdown.set(took.as_secs_f64());
        }
        self.stopped.increment(1);
    }

    pub(crate) fn set_uptime(&self, uptime: Duration) {
        self.uptime.set(uptime.as_secs_f64());
    }

    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 threads")]
    pub(crate) fn set_workers(&self, workers: usize) {
        self.workers.set(workers as f64);
    }

    pub(crate) fn aborted(&self, exchanges: u64) {
        self.aborted.increment(exchanges);
    }
}
