use tower_ops_core::config::ConfigError;
use tower_ops_core::sync::Mutex;
use tower_ops_metrics::{Metrics, MetricsBuilder, Prometheus};

/// The Prometheus recorder that this crate installed for the process, and what it was made of. A
/// process can have one only; every `Ops` in it shares that one.
static INSTALLED: Mutex<Option<(Prometheus, MetricsBuilder)>> = Mutex::new(None);

/// A gauge that is registered when the metrics are built.
const FIRST: &str = "server_in_flight_requests";

/// Where the metrics go.
#[derive(Debug)]
pub(super) enum Recorder {
    /// Into the process's, which is installed if there is none.
    Process,
    /// Into one of this `Ops` alone.
    Private,
    /// Into the application's, of which this is a handle.
    Application(Prometheus),
}

/// Of `server_connection_duration_seconds`: from a health check to a day.
const LIFETIMES: [f64; 10] = [
    0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1_800.0, 7_200.0, 28_800.0, 86_400.0,
];

/// Of `server_connection_requests`.
const REQUESTS: [f64; 8] = [0.0, 1.0, 2.0, 5.0, 10.0, 100.0, 1_000.0, 10_000.0];

/// Of `server_reaper_pass_seconds`: up to a million connections.
const PASSES: [f64; 6] = [0.000_01, 0.000_1, 0.001, 0.01, 0.1, 1.0];

/// Of `health_check_duration_seconds`: from a memory access to a timeout.
const CHECKS: [f64; 8] = [0.000_1, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0];

/// Returns a builder with buckets for the histograms of all parts.
pub(super) fn metrics_builder() -> MetricsBuilder {
    Metrics::builder()
        .histogram_buckets("server_connection_duration_seconds", LIFETIMES)
        .histogram_buckets("server_connection_requests", REQUESTS)
        .histogram_buckets("server_reaper_pass_seconds", PASSES)
        .histogram_buckets("health_check_duration_seconds", CHECKS)
}

/// Builds the metrics and their recorder. Logs a warning about a set-up that loses metrics or changes
/// their buckets.
pub(super) fn build_metrics(
    builder: MetricsBuilder,
    recorder: Recorder,
) -> Result<(Metrics, Option<Prometheus>), ConfigError> {
    let prometheus = match recorder {
        Recorder::Application(prometheus) => {
            let metrics = build_for(builder, &prometheus)?;
            if !prometheus.render().contains(FIRST) {
                tracing::warn!(
                    "/metrics will show nothing of the requests: the handle that \
                     Ops::builder(..).prometheus(..) got is of a recorder that this process has not \
                     installed; install it before, with PrometheusBuilder::install_recorder()"
                );
            }
            return Ok((metrics, Some(prometheus)));
        }
        Recorder::Private => Some(builder.build_recorder()?),
        Recorder::Process => of_the_process(&builder)?,
    };
    let metrics = match &prometheus {
        Some(prometheus) => build_for(builder, prometheus)?,
        None => builder.build()?,
    };
    Ok((metrics, prometheus))
}

fn build_for(builder: MetricsBuilder, prometheus: &Prometheus) -> Result<Metrics, ConfigError> {
    match prometheus.recorder() {
        // Whether it is installed or not, `/metrics` shows what is recorded there.
        Some(recorder) => builder.recorder(recorder).build(),
        None => builder.build(),
    }
}

/// Returns the recorder of the process, if it is ours, and installs one if there is none.
fn of_the_process(builder: &MetricsBuilder) -> Result<Option<Prometheus>, ConfigError> {
    let mut installed = INSTALLED.lock();
    if let Some((prometheus, first)) = &*installed {
        if !first.has_same_buckets(builder) {
            tracing::warn!(
                "the buckets of this Ops are ignored: the process has one recorder, and an earlier \
                 Ops made it with other buckets; give all the same ones, or this one a recorder of \
                 its own with private_recorder()"
            );
        }
        return Ok(Some(prometheus.clone()));
    }
    let prometheus = builder.build_recorder()?;
    if prometheus.install().is_err() {
        tracing::warn!(
            "the application has installed a metrics recorder of its own: the metrics go there, with \
             the buckets that it has, and /metrics answers 404; to show it there, give its handle to \
             Ops::builder(..).prometheus(Prometheus::from_handle(handle)); for a recorder of our own \
             beside it, private_recorder()"
        );
        return Ok(None);
    }
    // For debugging only: nothing is lost, and installing another recorder later is an error.
    tracing::debug!(
        "installed a Prometheus recorder for the process: installing another one later fails, \
         and axum-prometheus panics; build that first and give its handle to \
         Ops::builder(..).prometheus(..), or keep ours apart with private_recorder()"
    );
    *installed = Some((prometheus.clone(), builder.clone()));
    Ok(Some(prometheus))
}
