use std::sync::{Arc, Once};
use std::time::Duration;

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder};

use crate::result::Gauge;
use crate::status::Status;

const DEPENDENCY_UP: &str = "dependency_up";
const DURATION: &str = "health_check_duration_seconds";
const FAILURES: &str = "health_check_failures_total";
const STATUS: &str = "health_status";
const BLOCKED_WORKERS: &str = "health_runtime_blocked_workers";
const STALLED: &str = "health_runtime_stalled_seconds";

/// Where measurements go. A check runs seldom enough to look its handles up each time;
/// one that is kept could belong to no recorder at all, if it was made before the process's.
#[derive(Clone, Default)]
pub(crate) struct Meters {
    pub(crate) recorder: Option<Arc<dyn Recorder + Send + Sync>>,
}

impl Meters {
    pub(crate) fn run(&self, name: &Arc<str>, latency: Duration, failure: Option<&'static str>) {
        self.with(|recorder| {
            let label = Label::new("name", Arc::clone(name));
            let key = Key::from_parts(DURATION, vec![label.clone()]);
            recorder
                .register_histogram(&key, &METADATA)
                .record(latency.as_secs_f64());
            if let Some(reason) = failure {
                let labels = vec![label, Label::from_static_parts("reason", reason)];
                let key = Key::from_parts(FAILURES, labels);
                recorder.register_counter(&key, &METADATA).increment(1);
            }
        });
    }

    pub(crate) fn gauges(&self, name: &Arc<str>, gauges: &[Gauge]) {
        self.with(|recorder| {
            for gauge in gauges {
                let labels = vec![
                    Label::new("name", Arc::clone(name)),
                    Label::from_static_parts("state", gauge.state),
                ];
                let key = Key::from_parts(gauge.name, labels);
                recorder.register_gauge(&key, &METADATA).set(gauge.value);
            }
        });
    }

    /// A check that is gone is neither up nor down.
    pub(crate) fn dependency(&self, name: &Arc<str>, status: Option<Status>) {
        let value = match status {
            Some(Status::Ok | Status::Degraded) => 1.0,
            Some(Status::Unknown | Status::Down) => 0.0,
            None => f64::NAN,
        };
        let labels = vec![Label::new("name", Arc::clone(name))];
        self.set(Key::from_parts(DEPENDENCY_UP, labels), value);
    }

    pub(crate) fn group(&self, name: &Arc<str>, status: Status) {
        let labels = vec![Label::new("group", Arc::clone(name))];
        self.set(Key::from_parts(STATUS, labels), status.gauge());
    }

    #[expect(clippy::cast_precision_loss, reason = "there are not so many workers")]
    pub(crate) fn runtime(&self, stalled: Duration, blocked: usize) {
        self.set(Key::from_static_name(STALLED), stalled.as_secs_f64());
        self.set(Key::from_static_name(BLOCKED_WORKERS), blocked as f64);
    }

    #[expect(clippy::needless_pass_by_value, reason = "a key is made for the call")]
    fn set(&self, key: Key, value: f64) {
        self.with(|recorder| recorder.register_gauge(&key, &METADATA).set(value));
    }

    fn with(&self, record: impl FnOnce(&dyn Recorder)) {
        match &self.recorder {
            Some(recorder) => {
                describe(&**recorder);
                record(&**recorder);
            }
            None => metrics::with_recorder(|recorder| {
                describe(recorder);
                record(recorder);
            }),
        }
    }
}

static METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

fn describe(recorder: &dyn Recorder) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (name, text) in [
            (
                DEPENDENCY_UP,
                "1 if a check is ok or degraded, 0 if it is down or unknown",
            ),
            (
                STATUS,
                "1 if a group of checks is ok, 0.5 if degraded, 0 if down",
            ),
            (
                BLOCKED_WORKERS,
                "Workers of the runtime that seem to be blocked",
            ),
            (
                STALLED,
                "How long the runtime has not run a task that waits",
            ),
            (
                "db_pool_connections",
                "Connections of a database pool by state",
            ),
        ] {
            recorder.describe_gauge(KeyName::from(name), None, text.into());
        }
        let seconds = Some(metrics::Unit::Seconds);
        recorder.describe_histogram(
            KeyName::from(DURATION),
            seconds,
            "How long checks took".into(),
        );
        let text = "Runs of checks that failed, by reason";
        recorder.describe_counter(KeyName::from(FAILURES), None, text.into());
    });
}
