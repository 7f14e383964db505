//! What is counted: handles, resolved when the lifecycle is built.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Key, KeyName, Label, Level, Metadata, Recorder, Unit};

use crate::phase::Phase;

const STARTUP: &str = "startup_duration_seconds";
const SHUTDOWN: &str = "shutdown_duration_seconds";
const STARTED: &str = "server_started_total";
const STOPPED: &str = "server_stopped_total";
const UPTIME: &str = "server_uptime_seconds";
const WORKERS: &str = "server_workers";
const RESTARTS: &str = "restart_count";
const PHASE: &str = "lifecycle_phase";
const ABORTED: &str = "server_aborted_exchanges_total";

const METADATA: &Metadata<'static> =
    &Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

pub(crate) struct LifecycleMetrics {
    startup: Gauge,
    shutdown: Gauge,
    started: Counter,
    stopped: Counter,
    uptime: Gauge,
    workers: Gauge,
    restarts: Option<Gauge>,
    phases: [Gauge; Phase::ALL.len()],
    aborted: Counter,
}

impl LifecycleMetrics {
    /// In the recorder that was given, or in the process's.
    pub(crate) fn register(
        recorder: Option<&Arc<dyn Recorder + Send + Sync>>,
        counts_restarts: bool,
    ) -> Self {
        match recorder {
            Some(recorder) => Self::register_in(&**recorder, counts_restarts),
            None => metrics::with_recorder(|recorder| Self::register_in(recorder, counts_restarts)),
        }
    }

    fn register_in(recorder: &dyn Recorder, counts_restarts: bool) -> Self {
        describe(recorder);
        let gauge = |name| recorder.register_gauge(&Key::from_static_name(name), METADATA);
        let counter = |name| recorder.register_counter(&Key::from_static_name(name), METADATA);
        let phase = |phase: Phase| {
            let label = Label::from_static_parts("phase", phase.as_str());
            recorder.register_gauge(&Key::from_parts(PHASE, vec![label]), METADATA)
        };
        let metrics = Self {
            startup: gauge(STARTUP),
            shutdown: gauge(SHUTDOWN),
            started: counter(STARTED),
            stopped: counter(STOPPED),
            uptime: gauge(UPTIME),
            workers: gauge(WORKERS),
            restarts: counts_restarts.then(|| gauge(RESTARTS)),
            phases: Phase::ALL.map(phase),
            aborted: counter(ABORTED),
        };
        // There from the first scrape on.
        metrics.started.increment(0);
        metrics.stopped.increment(0);
        metrics.aborted.increment(0);
        metrics.set_phase(Phase::Starting);
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

    /// Without a time if there was no shutdown, only an end.
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

    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 restarts")]
    pub(crate) fn set_restarts(&self, restarts: u64) {
        if let Some(gauge) = &self.restarts {
            gauge.set(restarts as f64);
        }
    }

    pub(crate) fn aborted(&self, exchanges: u64) {
        self.aborted.increment(exchanges);
    }
}

fn describe(recorder: &dyn Recorder) {
    let gauge = |name: &'static str, unit: Option<Unit>, text: &'static str| {
        recorder.describe_gauge(KeyName::from(name), unit, text.into());
    };
    let counter = |name: &'static str, text: &'static str| {
        recorder.describe_counter(KeyName::from(name), None, text.into());
    };
    let seconds = Some(Unit::Seconds);
    gauge(STARTUP, seconds, "How long the process took to be ready");
    gauge(SHUTDOWN, seconds, "How long the shutdown took");
    counter(STARTED, "How often the server became ready");
    counter(STOPPED, "How often the server stopped");
    gauge(UPTIME, seconds, "How long the process has been running");
    gauge(WORKERS, None, "Worker threads of the server's runtime");
    gauge(RESTARTS, None, "How often the process was restarted");
    gauge(PHASE, None, "1 for the phase that the process is in");
    counter(ABORTED, "What a shutdown had to abort");
}
