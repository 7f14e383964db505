use std::fmt;
use std::sync::{Arc, Once};
use std::time::Duration;

use metrics::Label;
use tower_ops_core::recorder::{Description, RecorderHandle};

use crate::status::Status;

const DEPENDENCY_UP: &str = "dependency_up";
const DURATION: &str = "health_check_duration_seconds";
const FAILURES: &str = "health_check_failures_total";
const STATUS: &str = "health_status";
const BLOCKED_WORKERS: &str = "health_runtime_blocked_workers";
const STALLED: &str = "health_runtime_stalled_seconds";

const DESCRIPTIONS: &[Description] = &[
    Description::gauge(
        DEPENDENCY_UP,
        "1 if a check is ok or degraded, 0 if it is down or unknown",
    ),
    Description::gauge(
        STATUS,
        "1 if a group of checks is ok, 0.5 if degraded, 0 if down",
    ),
    Description::gauge(
        BLOCKED_WORKERS,
        "Workers of the runtime that seem to be blocked",
    ),
    Description::gauge(STALLED, "How long the runtime has not run a waiting task"),
    Description::histogram(DURATION, "How long runs of checks took"),
    Description::counter(FAILURES, "Runs of checks that failed, by reason"),
];

/// Records the metrics. Looks each up again: a handle that was made before the process's recorder
/// was installed would record nothing, and checks run seldom.
pub(crate) struct Meters {
    recorder: RecorderHandle,
    described: Once,
}

impl Meters {
    pub(crate) const fn new(recorder: RecorderHandle) -> Self {
        Self {
            recorder,
            described: Once::new(),
        }
    }

    pub(crate) fn run(&self, name: &Arc<str>, latency: Duration, failure: Option<&'static str>) {
        let name = Label::new("name", Arc::clone(name));
        let duration = self
            .recorder()
            .histogram(DURATION, std::slice::from_ref(&name));
        duration.record(latency.as_secs_f64());
        if let Some(reason) = failure {
            let labels = [name, Label::from_static_parts("reason", reason)];
            self.recorder().counter(FAILURES, &labels).increment(1);
        }
    }

    /// A check that is gone is neither up nor down.
    pub(crate) fn dependency(&self, name: &Arc<str>, status: Option<Status>) {
        let value = match status {
            Some(Status::Ok | Status::Degraded) => 1.0,
            Some(Status::Unknown | Status::Down) => 0.0,
            None => f64::NAN,
        };
        let labels = [Label::new("name", Arc::clone(name))];
        self.recorder().gauge(DEPENDENCY_UP, &labels).set(value);
    }

    pub(crate) fn group(&self, name: &Arc<str>, status: Status) {
        let labels = [Label::new("group", Arc::clone(name))];
        self.recorder().gauge(STATUS, &labels).set(status.gauge());
    }

    #[expect(clippy::cast_precision_loss, reason = "there are not so many workers")]
    pub(crate) fn runtime(&self, stalled: Duration, blocked: usize) {
        let recorder = self.recorder();
        recorder.gauge(STALLED, &[]).set(stalled.as_secs_f64());
        recorder.gauge(BLOCKED_WORKERS, &[]).set(blocked as f64);
    }

    pub(crate) fn gauge(&self, check: &Arc<str>, gauge: &Gauge) {
        self.recorder
            .describe(&[Description::gauge(gauge.name, gauge.help)]);
        for (state, value) in (gauge.values)() {
            let labels = [
                Label::new("name", Arc::clone(check)),
                Label::from_static_parts("state", state),
            ];
            self.recorder.gauge(gauge.name, &labels).set(value);
        }
    }

    fn recorder(&self) -> &RecorderHandle {
        self.described
            .call_once(|| self.recorder.describe(DESCRIPTIONS));
        &self.recorder
    }
}

/// A gauge of a check, set before each of its runs.
#[derive(Clone)]
pub(crate) struct Gauge {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    /// Each value of the label `state`, and the number.
    pub(crate) values: Arc<dyn Fn() -> Vec<(&'static str, f64)> + Send + Sync>,
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauge")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
