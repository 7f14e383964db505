use std::fmt;
use std::sync::Arc;

use metrics::Recorder;
#[cfg(feature = "prometheus")]
use metrics_exporter_prometheus::PrometheusBuilder;
use tower_ops_core::config::ConfigError;

#[cfg(feature = "prometheus")]
use crate::names;
use crate::observer::Metrics;
#[cfg(feature = "prometheus")]
use crate::prometheus::{Prometheus, with_buckets};
use crate::registry::Registry;
use crate::set::HistogramSeries;

/// The conventions' buckets for request and call durations, in seconds.
pub const DURATION_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Our buckets for body sizes, in bytes: the conventions give none.
pub const SIZE_BUCKETS: [f64; 7] = [
    100.0,
    1_000.0,
    10_000.0,
    100_000.0,
    1_000_000.0,
    10_000_000.0,
    100_000_000.0,
];

/// The default of [`max_series`](MetricsBuilder::max_series).
pub const DEFAULT_MAX_SERIES: usize = 10_000;

/// Configures [`Metrics`]. Made by [`Metrics::builder`].
#[derive(Clone)]
pub struct MetricsBuilder {
    prefix: String,
    duration_buckets: Vec<f64>,
    size_buckets: Vec<f64>,
    other_buckets: Vec<(String, Vec<f64>)>,
    max_series: usize,
    recorder: Option<Arc<dyn Recorder + Send + Sync>>,
}

impl MetricsBuilder {
    pub(crate) fn new() -> Self {
        Self {
            prefix: String::new(),
            duration_buckets: DURATION_BUCKETS.to_vec(),
            size_buckets: SIZE_BUCKETS.to_vec(),
            other_buckets: Vec::new(),
            max_series: DEFAULT_MAX_SERIES,
            recorder: None,
        }
    }

    /// Sets a prefix for every name, such as `orders_`. None by default.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the buckets of the durations and of the time to the first byte, in seconds.
    /// [`DURATION_BUCKETS`] by default. A [recorder](Self::recorder) of your own has its own.
    #[must_use]
    pub fn duration_buckets(mut self, bounds: impl Into<Vec<f64>>) -> Self {
        self.duration_buckets = bounds.into();
        self
    }

    /// Sets the buckets of the body sizes, in bytes. [`SIZE_BUCKETS`] by default. A
    /// [recorder](Self::recorder) of your own has its own.
    #[must_use]
    pub fn size_buckets(mut self, bounds: impl Into<Vec<f64>>) -> Self {
        self.size_buckets = bounds.into();
        self
    }

    /// Adds buckets for a histogram of your own that is recorded into the recorder of
    /// [`build_prometheus`](Self::build_prometheus), whatever the prefix. The exporter makes a summary
    /// of a histogram without buckets.
    #[must_use]
    pub fn histogram_buckets(
        mut self,
        name: impl Into<String>,
        bounds: impl Into<Vec<f64>>,
    ) -> Self {
        self.other_buckets.push((name.into(), bounds.into()));
        self
    }

    /// Limits the series of these metrics, as Prometheus counts them: every bucket of a histogram is
    /// one. 10,000 by default, enough for about 220 combinations of method, route, status and
    /// protocol version.
    ///
    /// Beyond the limit, new combinations are counted for the route `{overflow}`, and in
    /// `tower_ops_metrics_overflow_total`. Metrics of your own do not count.
    #[must_use]
    pub const fn max_series(mut self, series: usize) -> Self {
        self.max_series = series;
        self
    }

    /// Sets the recorder. The process's by default.
    #[must_use]
    pub fn recorder(mut self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Checks the configuration without building anything.
    ///
    /// # Errors
    ///
    /// If anything in it is invalid. The error lists every problem.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::from_problems("the metrics", self.problems())
    }

    /// Checks the configuration for [`build_prometheus`](Self::build_prometheus), without building
    /// anything.
    ///
    /// # Errors
    ///
    /// If anything in it is invalid, or a [recorder](Self::recorder) is set. The error lists every
    /// problem.
    #[cfg(feature = "prometheus")]
    #[cfg_attr(docsrs, doc(cfg(feature = "prometheus")))]
    pub fn validate_prometheus(&self) -> Result<(), ConfigError> {
        let mut problems = self.problems();
        if self.recorder.is_some() {
            problems.push(
                "recorder: there is one already, and another would be made; give only one".into(),
            );
        }
        ConfigError::from_problems("the metrics", problems)
    }

    /// Builds metrics that record into the process's recorder, or into the one that is
    /// [set](Self::recorder).
    ///
    /// Install the process's recorder before: an instrument is registered once, and one that finds no
    /// recorder then never records.
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate).
    pub fn build(self) -> Result<Metrics, ConfigError> {
        self.validate()?;
        Ok(self.into_metrics())
    }

    /// Builds metrics with a Prometheus recorder of their own, and the handle to it.
    ///
    /// A thread drives the recorder's upkeep for as long as the metrics or the handle live. To let
    /// the rest of the process record into it as well, call [`Prometheus::install`].
    ///
    /// # Errors
    ///
    /// As [`validate_prometheus`](Self::validate_prometheus).
    ///
    /// # Panics
    ///
    /// If the system cannot start a thread.
    #[cfg(feature = "prometheus")]
    #[cfg_attr(docsrs, doc(cfg(feature = "prometheus")))]
    pub fn build_prometheus(self) -> Result<(Metrics, Prometheus), ConfigError> {
        self.validate_prometheus()?;
        let prometheus = Prometheus::new(self.buckets());
        let mut builder = self;
        builder.recorder = prometheus.recorder();
        Ok((builder.into_metrics(), prometheus))
    }

    /// Builds the Prometheus recorder alone, with these buckets: to [install](Prometheus::install) it
    /// before the metrics are built. A thread drives its upkeep for as long as it lives.
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate).
    ///
    /// # Panics
    ///
    /// If the system cannot start a thread.
    #[cfg(feature = "prometheus")]
    #[cfg_attr(docsrs, doc(cfg(feature = "prometheus")))]
    pub fn build_recorder(&self) -> Result<Prometheus, ConfigError> {
        self.validate()?;
        Ok(Prometheus::new(self.buckets()))
    }

    /// Sets these buckets on a recorder that you build and install yourself. The exporter makes
    /// summaries of histograms without buckets.
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate).
    ///
    /// # Examples
    ///
    /// ```
    /// use metrics_exporter_prometheus::PrometheusBuilder;
    /// use tower_ops_metrics::{Metrics, Prometheus};
    ///
    /// let exporter = Metrics::builder().apply_buckets(PrometheusBuilder::new())?;
    /// let handle = exporter.install_recorder()?;
    /// // For `Ops::builder(..).prometheus(..)`, or to be served on `/metrics`:
    /// let prometheus = Prometheus::from_handle(handle);
    /// # drop(prometheus);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "prometheus")]
    #[cfg_attr(docsrs, doc(cfg(feature = "prometheus")))]
    pub fn apply_buckets(
        &self,
        exporter: PrometheusBuilder,
    ) -> Result<PrometheusBuilder, ConfigError> {
        self.validate()?;
        Ok(with_buckets(exporter, self.buckets()))
    }

    /// Returns whether both have the same buckets.
    #[must_use]
    pub fn has_same_buckets(&self, other: &Self) -> bool {
        self.duration_buckets == other.duration_buckets
            && self.size_buckets == other.size_buckets
            && self.other_buckets == other.other_buckets
    }

    #[cfg(feature = "prometheus")]
    fn buckets(&self) -> impl Iterator<Item = (&str, &[f64])> {
        let durations = [names::DURATION, names::FIRST_BYTE, names::RPC_DURATION];
        let sizes = [names::REQUEST_SIZE, names::RESPONSE_SIZE];
        let others = self.other_buckets.iter();
        durations
            .map(|name| (name, &self.duration_buckets[..]))
            .into_iter()
            .chain(sizes.map(|name| (name, &self.size_buckets[..])))
            .chain(others.map(|(name, bounds)| (&**name, &bounds[..])))
    }

    fn into_metrics(self) -> Metrics {
        let histogram = self.histogram_series();
        let left = self.max_series - Metrics::fixed_series(histogram);
        let registry = Registry::new(self.recorder, self.prefix, left);
        Metrics::new(registry, histogram, left)
    }

    const fn histogram_series(&self) -> HistogramSeries {
        HistogramSeries {
            duration: self.duration_buckets.len() + 3,
            size: self.size_buckets.len() + 3,
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !is_prefix(&self.prefix) {
            problems.push(format!(
                "prefix: {:?} does not begin with a letter or _, or has a character other than \
                 letters, digits and _",
                self.prefix
            ));
        }
        problems.extend(bucket_problem("duration_buckets", &self.duration_buckets));
        problems.extend(bucket_problem("size_buckets", &self.size_buckets));
        for (name, bounds) in &self.other_buckets {
            let setting = format!("histogram_buckets of {name:?}");
            problems.extend(bucket_problem(&setting, bounds));
        }
        let least = Metrics::fixed_series(self.histogram_series());
        if !(least..=MOST_SERIES).contains(&self.max_series) {
            problems.push(format!(
                "max_series: {} is not between {least}, what these buckets need at least, and {MOST_SERIES}",
                self.max_series
            ));
        }
        problems
    }
}

/// The table of label sets is allocated in one piece. This limits it to some 35 MB with the default
/// buckets, and to 135 MB with a single one.
const MOST_SERIES: usize = 10_000_000;

fn is_prefix(prefix: &str) -> bool {
    !prefix.starts_with(|first: char| first.is_ascii_digit())
        && prefix
            .chars()
            .all(|each| each.is_ascii_alphanumeric() || each == '_')
}

fn bucket_problem(name: &str, bounds: &[f64]) -> Option<String> {
    const MOST: usize = 200;
    if bounds.is_empty() || bounds.len() > MOST {
        return Some(format!(
            "{name}: there are {} of them; give 1 to {MOST}",
            bounds.len()
        ));
    }
    if let Some(bound) = bounds.iter().find(|bound| !bound.is_finite()) {
        return Some(format!("{name}: {bound} is not a finite number"));
    }
    bounds
        .windows(2)
        .find(|pair| pair[0] >= pair[1])
        .map(|pair| {
            format!(
                "{name}: not ascending, {} stands before {}",
                pair[0], pair[1]
            )
        })
}

impl fmt::Debug for MetricsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsBuilder")
            .field("prefix", &self.prefix)
            .field("duration_buckets", &self.duration_buckets)
            .field("size_buckets", &self.size_buckets)
            .field("max_series", &self.max_series)
            .finish_non_exhaustive()
    }
}
