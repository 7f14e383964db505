//! What is counted.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};

use crate::record::{Operation, Outcome};

const SAVE: &str = "state_save_duration_seconds";
const LOAD: &str = "state_load_duration_seconds";
const SIZE: &str = "state_size_bytes";
const OPERATIONS: &str = "state_operations_total";

const METADATA: &Metadata<'static> =
    &Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// What is there before it was ever counted, so that a first failure is an increase. The others
/// are made when they are first counted: most never are.
const AHEAD: [(Operation, Outcome); 10] = [
    (Operation::Capture, Outcome::Ok),
    (Operation::Capture, Outcome::Failed),
    (Operation::Capture, Outcome::Unauthorized),
    (Operation::HandOver, Outcome::Ok),
    (Operation::Restore, Outcome::Ok),
    (Operation::Restore, Outcome::Failed),
    (Operation::Restore, Outcome::Unauthorized),
    (Operation::SaveFile, Outcome::Ok),
    (Operation::SaveFile, Outcome::Failed),
    (Operation::RestoreFile, Outcome::Failed),
];

pub(crate) struct StateMetrics {
    /// `None`: the process's.
    recorder: Option<Arc<dyn Recorder + Send + Sync>>,
    save: Histogram,
    load: Histogram,
    size: Gauge,
    operations: Vec<OnceLock<Counter>>,
}

impl StateMetrics {
    /// In the recorder that was given, or in the process's.
    pub(crate) fn register(recorder: Option<&Arc<dyn Recorder + Send + Sync>>) -> Self {
        let metrics = with(recorder, |recorder| {
            describe(recorder);
            let histogram =
                |name| recorder.register_histogram(&Key::from_static_name(name), METADATA);
            let counters = Operation::ALL.len() * Outcome::ALL.len();
            Self {
                recorder: None,
                save: histogram(SAVE),
                load: histogram(LOAD),
                size: recorder.register_gauge(&Key::from_static_name(SIZE), METADATA),
                operations: (0..counters).map(|_| OnceLock::new()).collect(),
            }
        });
        let metrics = Self {
            recorder: recorder.cloned(),
            ..metrics
        };
        for (operation, outcome) in AHEAD {
            metrics.counter(operation, outcome);
        }
        metrics
    }

    fn counter(&self, operation: Operation, outcome: Outcome) -> Option<&Counter> {
        let at = operation as usize * Outcome::ALL.len() + outcome as usize;
        let counter = self.operations.get(at)?;
        Some(counter.get_or_init(|| {
            let labels = vec![
                Label::from_static_parts("operation", operation.as_str()),
                Label::from_static_parts("outcome", outcome.as_str()),
            ];
            let key = Key::from_parts(OPERATIONS, labels);
            with(self.recorder.as_ref(), |recorder| {
                recorder.register_counter(&key, METADATA)
            })
        }))
    }

    pub(crate) fn ended(&self, operation: Operation, outcome: Outcome, took: Duration) {
        if let Some(counter) = self.counter(operation, outcome) {
            counter.increment(1);
        }
        if outcome == Outcome::Ok {
            match operation {
                Operation::Capture | Operation::HandOver | Operation::SaveFile => {
                    self.save.record(took);
                }
                Operation::Restore | Operation::RestoreFile => self.load.record(took),
                Operation::Measure | Operation::DryRun | Operation::Resume => {}
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
    pub(crate) fn set_size(&self, size: u64) {
        self.size.set(size as f64);
    }
}

fn with<T>(
    recorder: Option<&Arc<dyn Recorder + Send + Sync>>,
    act: impl FnOnce(&dyn Recorder) -> T,
) -> T {
    match recorder {
        Some(recorder) => act(&**recorder),
        None => metrics::with_recorder(act),
    }
}

fn describe(recorder: &dyn Recorder) {
    let name = |name: &'static str| KeyName::from(name);
    let seconds = Some(Unit::Seconds);
    recorder.describe_histogram(name(SAVE), seconds, "How long captures took".into());
    recorder.describe_histogram(name(LOAD), seconds, "How long restores took".into());
    recorder.describe_gauge(
        name(SIZE),
        Some(Unit::Bytes),
        "How large the last capture or restore was".into(),
    );
    recorder.describe_counter(
        name(OPERATIONS),
        None,
        "Captures and restores by outcome".into(),
    );
}
