use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder};

use crate::names::{self, Kind};

/// Makes instruments: with a recorder, within the limit of series.
pub(crate) struct Registry {
    /// `None`: the process's recorder, whoever installed it.
    recorder: Option<Arc<dyn Recorder + Send + Sync>>,
    prefix: String,
    series_left: AtomicUsize,
}

impl Registry {
    pub(crate) fn new(
        recorder: Option<Arc<dyn Recorder + Send + Sync>>,
        prefix: String,
        series: usize,
    ) -> Self {
        let registry = Self {
            recorder,
            prefix,
            series_left: AtomicUsize::new(series),
        };
        registry.describe();
        registry
    }

    pub(crate) fn counter(&self, name: &'static str, labels: &[Label]) -> Counter {
        self.register(name, labels, |recorder, key, metadata| {
            recorder.register_counter(key, metadata)
        })
    }

    pub(crate) fn gauge(&self, name: &'static str, labels: &[Label]) -> Gauge {
        self.register(name, labels, |recorder, key, metadata| {
            recorder.register_gauge(key, metadata)
        })
    }

    pub(crate) fn histogram(&self, name: &'static str, labels: &[Label]) -> Histogram {
        self.register(name, labels, |recorder, key, metadata| {
            recorder.register_histogram(key, metadata)
        })
    }

    /// Reserves that many series. Returns false if the limit leaves no room for them.
    pub(crate) fn take(&self, series: usize) -> bool {
        self.series_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(series)
            })
            .is_ok()
    }

    pub(crate) fn give_back(&self, series: usize) {
        self.series_left.fetch_add(series, Ordering::Relaxed);
    }

    fn register<T>(
        &self,
        name: &'static str,
        labels: &[Label],
        register: impl FnOnce(&dyn Recorder, &Key, &Metadata<'_>) -> T,
    ) -> T {
        let key = Key::from_parts(self.full_name(name), labels.to_vec());
        let metadata = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
        self.with_recorder(|recorder| register(recorder, &key, &metadata))
    }

    fn describe(&self) {
        self.with_recorder(|recorder| {
            for description in &names::ALL {
                let name = KeyName::from(self.full_name(description.name));
                let unit = Some(description.unit);
                let help = description.help.into();
                match description.kind {
                    Kind::Counter => recorder.describe_counter(name, unit, help),
                    Kind::Gauge => recorder.describe_gauge(name, unit, help),
                    Kind::Histogram => recorder.describe_histogram(name, unit, help),
                }
            }
        });
    }

    fn full_name(&self, name: &'static str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn with_recorder<T>(&self, act: impl FnOnce(&dyn Recorder) -> T) -> T {
        match &self.recorder {
            Some(recorder) => act(&**recorder),
            None => metrics::with_recorder(act),
        }
    }
}
