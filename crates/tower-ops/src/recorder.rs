use std::sync::{Mutex, PoisonError};

use tower_ops_config::ConfigError;
use tower_ops_metrics::{Metrics, MetricsBuilder, Prometheus};

/// The Prometheus recorder that this crate installed for the process. A process
/// can have one only; every `Ops` in it shares that one.
static INSTALLED: Mutex<Option<Prometheus>> = Mutex::new(None);

/// Where the metrics go.
#[derive(Debug)]
pub(crate) enum Recorder {
    /// Into one that is the process's as well, if the process has none yet.
    Process,
    /// Into one that only this `Ops` has.
    Private,
    /// Into the process's one, which the application installed.
    Application(Prometheus),
}

pub(crate) fn build_metrics(
    builder: MetricsBuilder,
    recorder: Recorder,
) -> Result<(Metrics, Option<Prometheus>), ConfigError> {
    match recorder {
        Recorder::Application(prometheus) => Ok((builder.build()?, Some(prometheus))),
        Recorder::Private => {
            let (metrics, prometheus) = builder.build_prometheus()?;
            Ok((metrics, Some(prometheus)))
        }
        Recorder::Process => {
            let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(prometheus) = &*installed {
                return Ok((builder.build()?, Some(prometheus.clone())));
            }
            let (metrics, prometheus) = builder.clone().build_prometheus()?;
            if prometheus.install().is_err() {
                return Ok((builder.build()?, None));
            }
            *installed = Some(prometheus.clone());
            Ok((metrics, Some(prometheus)))
        }
    }
}
