use std::sync::{Mutex, PoisonError};

use tower_ops_core::config::ConfigError;
use tower_ops_metrics::{Metrics, MetricsBuilder, Prometheus};

/// The Prometheus recorder that this crate installed for the process, and what it was made of. A
/// process can have one only; every `Ops` in it shares that one.
static INSTALLED: Mutex<Option<(Prometheus, MetricsBuilder)>> = Mutex::new(None);

/// A gauge that is there as soon as the metrics are.
const FIRST: &str = "server_in_flight_requests";

/// Where the metrics go.
#[derive(Debug)]
pub(crate) enum Recorder {
    /// Into one that is the process's as well, if the process has none yet.
    Process,
    /// Into one that only this `Ops` has.
    Private,
    /// Into the application's, of which this is a handle.
    Application(Prometheus),
}

/// Warns of whatever would lose metrics or change them, and could not be refused.
pub(crate) fn build_metrics(
    builder: MetricsBuilder,
    recorder: Recorder,
) -> Result<(Metrics, Option<Prometheus>), ConfigError> {
    match recorder {
        Recorder::Application(prometheus) => of_the_application(builder, prometheus),
        Recorder::Private => {
            let (metrics, prometheus) = builder.build_prometheus()?;
            Ok((metrics, Some(prometheus)))
        }
        Recorder::Process => of_the_process(builder),
    }
}

fn of_the_application(
    builder: MetricsBuilder,
    prometheus: Prometheus,
) -> Result<(Metrics, Option<Prometheus>), ConfigError> {
    let builder = match prometheus.recorder() {
        // Whether it is installed or not: what goes there is what is shown.
        Some(recorder) => builder.recorder(recorder),
        None => builder,
    };
    let metrics = builder.build()?;
    if !prometheus.render().contains(FIRST) {
        tracing::warn!(
            "/metrics will show nothing of the requests: the handle that Ops::builder(..).prometheus(..) \
             got is of a recorder that this process has not installed; install it before, with \
             PrometheusBuilder::install_recorder()"
        );
    }
    Ok((metrics, Some(prometheus)))
}

fn of_the_process(builder: MetricsBuilder) -> Result<(Metrics, Option<Prometheus>), ConfigError> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((prometheus, first)) = &*installed {
        if !first.has_same_buckets(&builder) {
            tracing::warn!(
                "the buckets of this Ops are ignored: the process has one recorder, and an earlier \
                 Ops made it with other buckets; give all the same ones, or this one a recorder of \
                 its own with private_recorder()"
            );
        }
        return Ok((builder.build()?, Some(prometheus.clone())));
    }
    let (metrics, prometheus) = builder.clone().build_prometheus()?;
    if prometheus.install().is_err() {
        tracing::warn!(
            "the application has installed a metrics recorder of its own: the metrics go there, with \
             the buckets that it has, and /metrics answers 404; to show it there, give its handle to \
             Ops::builder(..).prometheus(Prometheus::from_handle(handle)); for a recorder of our own \
             beside it, private_recorder()"
        );
        return Ok((builder.build()?, None));
    }
    // Nothing is lost by it, and whoever installs another later gets an error.
    tracing::debug!(
        "installed a Prometheus recorder for the process: whoever installs another one later fails, \
         and axum-prometheus panics; build that first and give its handle to \
         Ops::builder(..).prometheus(..), or keep ours apart with private_recorder()"
    );
    *installed = Some((prometheus.clone(), builder));
    Ok((metrics, Some(prometheus)))
}
