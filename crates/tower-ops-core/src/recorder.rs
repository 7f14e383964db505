//! Where metrics go: a recorder that is given, or the process's.

use std::fmt;
use std::sync::{Arc, OnceLock};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};

/// A recorder of the `metrics` crate that can be shared.
pub type SharedRecorder = Arc<dyn Recorder + Send + Sync>;

/// The recorder that was given, or the one that is installed for the process.
///
/// Clones are cheap and are the same one.
///
/// # Examples
///
/// ```
/// use tower_ops_core::recorder::RecorderHandle;
///
/// // Goes to the process's recorder; to none, where none is installed.
/// let recorder = RecorderHandle::default();
/// recorder.counter("jobs_total", &[]).increment(1);
/// ```
#[derive(Clone, Default)]
pub struct RecorderHandle(Option<SharedRecorder>);

const METADATA: &Metadata<'static> = &Metadata::new("tower_ops", Level::INFO, Some("tower_ops"));

impl RecorderHandle {
    /// That recorder; `None` is the process's.
    #[must_use]
    pub const fn new(recorder: Option<SharedRecorder>) -> Self {
        Self(recorder)
    }

    /// Calls with the recorder, as it is at this moment.
    pub fn with<T>(&self, act: impl FnOnce(&dyn Recorder) -> T) -> T {
        match &self.0 {
            Some(recorder) => act(&**recorder),
            None => metrics::with_recorder(act),
        }
    }

    /// A counter of that name.
    pub fn counter(&self, name: &'static str, labels: &[Label]) -> Counter {
        let key = key(name, labels);
        self.with(|recorder| recorder.register_counter(&key, METADATA))
    }

    /// A gauge of that name.
    pub fn gauge(&self, name: &'static str, labels: &[Label]) -> Gauge {
        let key = key(name, labels);
        self.with(|recorder| recorder.register_gauge(&key, METADATA))
    }

    /// A histogram of that name.
    pub fn histogram(&self, name: &'static str, labels: &[Label]) -> Histogram {
        let key = key(name, labels);
        self.with(|recorder| recorder.register_histogram(&key, METADATA))
    }

    /// Describes metrics: their names and their HELP texts.
    pub fn describe(&self, descriptions: &[Description]) {
        self.with(|recorder| {
            for description in descriptions {
                let (name, help) = (description.name.into(), description.help.into());
                match description.kind {
                    Kind::Counter => recorder.describe_counter(name, None, help),
                    Kind::Gauge => recorder.describe_gauge(name, None, help),
                    Kind::Histogram => recorder.describe_histogram(name, None, help),
                }
            }
        });
    }
}

fn key(name: &'static str, labels: &[Label]) -> Key {
    if labels.is_empty() {
        Key::from_static_name(name)
    } else {
        Key::from_parts(name, labels.to_vec())
    }
}

impl fmt::Debug for RecorderHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = if self.0.is_some() { "given" } else { "process" };
        f.debug_tuple("RecorderHandle").field(&which).finish()
    }
}

/// What a metric is.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    kind: Kind,
    name: &'static str,
    help: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Description {
    /// Of a counter: its name and its HELP text.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Counter, name, help)
    }

    /// Of a gauge: its name and its HELP text.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Gauge, name, help)
    }

    /// Of a histogram: its name and its HELP text.
    #[must_use]
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Histogram, name, help)
    }

    const fn new(kind: Kind, name: &'static str, help: &'static str) -> Self {
        Self { kind, name, help }
    }
}

/// A counter that has a series only once it has counted something.
///
/// For what rarely happens: dozens of series that are always 0 cost every scrape.
pub struct LateCounter {
    recorder: RecorderHandle,
    name: &'static str,
    labels: Box<[Label]>,
    counter: OnceLock<Counter>,
}

impl LateCounter {
    /// A counter that is registered when it first counts.
    #[must_use]
    pub fn new(recorder: &RecorderHandle, name: &'static str, labels: &[Label]) -> Self {
        Self {
            recorder: recorder.clone(),
            name,
            labels: labels.into(),
            counter: OnceLock::new(),
        }
    }

    /// Counts.
    pub fn increment(&self, by: u64) {
        let register = || self.recorder.counter(self.name, &self.labels);
        self.counter.get_or_init(register).increment(by);
    }
}

impl fmt::Debug for LateCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LateCounter")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::*;

    #[test]
    fn a_late_counter_has_a_series_once_it_has_counted() {
        let recorder = DebuggingRecorder::new();
        let snapshots = recorder.snapshotter();
        let handle = RecorderHandle::new(Some(Arc::new(recorder)));
        handle.describe(&[Description::counter("late_total", "What is late")]);
        let labels = [Label::from_static_parts("kind", "late")];
        let counter = LateCounter::new(&handle, "late_total", &labels);
        assert!(snapshots.snapshot().into_vec().is_empty());
        counter.increment(2);
        counter.increment(1);
        let [(key, _, help, value)] = &snapshots.snapshot().into_vec()[..] else {
            unreachable!("there is one series");
        };
        assert_eq!(key.key().to_string(), "Key(late_total, [kind = late])");
        assert_eq!(help.as_deref(), Some("What is late"));
        assert_eq!(*value, DebugValue::Counter(3));
    }

    #[test]
    fn without_a_recorder_it_is_the_one_of_the_moment() {
        let handle = RecorderHandle::default();
        let recorder = DebuggingRecorder::new();
        let snapshots = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, || handle.gauge("up", &[]).set(1.0));
        handle.gauge("lost", &[]).set(1.0);
        assert_eq!(snapshots.snapshot().into_vec().len(), 1);
    }
}
