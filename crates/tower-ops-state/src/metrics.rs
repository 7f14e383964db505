//! What is counted.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};

use crate::record::{Operation, Outcome};

const SAVE: &str = "state_save_duration_seconds";
const LOAD: &str = "state_load_duration_seconds";
const SIZE: &str = "state_size_bytes";
const OPERATIONS: &str = "state_operations_total";

const METADATA: &Metadata<'static> =
    &Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

pub(crate) struct StateMetrics {
    save: Histogram,
    load: Histogram,
    size: Gauge,
    operations: Vec<Counter>,
}

impl StateMetrics {
    /// In the recorder that was given, or in the process's.
    pub(crate) fn register(recorder: Option<&Arc<dyn Recorder + Send + Sync>>) -> Self {
        match recorder {
            Some(recorder) => Self::register_in(&**recorder),
            None => metrics::with_recorder(|recorder| Self::register_in(recorder)),
        }
    }

    fn register_in(recorder: &dyn Recorder) -> Self {
        describe(recorder);
        let histogram = |name| recorder.register_histogram(&Key::from_static_name(name), METADATA);
        let mut operations = Vec::new();
        for operation in Operation::ALL {
            for outcome in Outcome::ALL {
                let labels = vec![
                    Label::from_static_parts("operation", operation.as_str()),
                    Label::from_static_parts("outcome", outcome.as_str()),
                ];
                let key = Key::from_parts(OPERATIONS, labels);
                operations.push(recorder.register_counter(&key, METADATA));
            }
        }
        Self {
            save: histogram(SAVE),
            load: histogram(LOAD),
            size: recorder.register_gauge(&Key::from_static_name(SIZE), METADATA),
            operations,
        }
    }

    pub(crate) fn ended(&self, operation: Operation, outcome: Outcome, took: Duration) {
        let at = operation as usize * Outcome::ALL.len() + outcome as usize;
        if let Some(counter) = self.operations.get(at) {
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
