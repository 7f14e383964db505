use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tower_ops_core::http::{Answer, AnswerBody};
use tower_service::Service;

/// How often samples are folded into their histograms. Until then each takes 16 bytes: some 5 MB at
/// 100,000 requests a second.
const UPKEEP: Duration = Duration::from_secs(1);

/// A handle to a Prometheus recorder whose upkeep is driven.
///
/// The recorder keeps raw samples, 16 bytes each, until its upkeep folds them. A thread of its own
/// drives the upkeep once a second, however busy the service's runtime is, for as long as a handle
/// or anything that records into it lives.
#[derive(Clone)]
pub struct Prometheus {
    inner: Arc<Inner>,
}

struct Inner {
    /// `None`: the application's, of which there is only a handle.
    recorder: Option<Arc<PrometheusRecorder>>,
    handle: PrometheusHandle,
}

impl Prometheus {
    /// Makes a handle to a recorder that you built and installed yourself: renders it, and drives its
    /// upkeep.
    ///
    /// # Panics
    ///
    /// If the system cannot start a thread.
    #[must_use]
    pub fn from_handle(handle: PrometheusHandle) -> Self {
        Self::start(None, handle)
    }

    /// Makes a recorder with these buckets for the metrics of these names, whatever their prefix:
    /// other metrics of the process may have another one, and the exporter makes summaries of
    /// histograms without buckets.
    pub(crate) fn new<'a>(buckets: impl Iterator<Item = (&'a str, &'a [f64])>) -> Self {
        let builder = with_buckets(PrometheusBuilder::new(), buckets);
        let recorder = Arc::new(builder.build_recorder());
        let handle = recorder.handle();
        Self::start(Some(recorder), handle)
    }

    fn start(recorder: Option<Arc<PrometheusRecorder>>, handle: PrometheusHandle) -> Self {
        let kept = recorder.as_ref().map(Arc::downgrade);
        let inner = Arc::new(Inner { recorder, handle });
        let kept = kept.map_or_else(|| Kept::Handle(Arc::downgrade(&inner)), Kept::Recorder);
        thread::Builder::new()
            .name("metrics-upkeep".into())
            .spawn(move || upkeep(&kept))
            .expect("the system can start a thread");
        Self { inner }
    }

    /// Makes this recorder the process's one, so that `metrics::counter!` and
    /// the like, anywhere, show up beside the server's metrics.
    ///
    /// # Errors
    ///
    /// If the process has a recorder already.
    pub fn install(&self) -> Result<(), AlreadyInstalled> {
        let recorder = self.inner.recorder.clone().ok_or(AlreadyInstalled)?;
        metrics::set_global_recorder(recorder).map_err(|_| AlreadyInstalled)
    }

    /// Renders all metrics in the Prometheus text format. Takes some 4 ms for 10,000 series.
    #[must_use]
    pub fn render(&self) -> String {
        self.inner.handle.render()
    }

    /// Makes the service for `/metrics`.
    #[must_use]
    pub fn service(&self) -> MetricsService {
        MetricsService {
            prometheus: self.clone(),
        }
    }

    /// Returns the recorder, to record into it without installing it. `None` if it is the
    /// application's, of which there is only a handle.
    #[must_use]
    pub fn recorder(&self) -> Option<Arc<dyn metrics::Recorder + Send + Sync>> {
        let recorder = self.inner.recorder.clone()?;
        Some(recorder)
    }
}

/// Sets buckets for the metrics of these names.
pub(crate) fn with_buckets<'a>(
    builder: PrometheusBuilder,
    buckets: impl Iterator<Item = (&'a str, &'a [f64])>,
) -> PrometheusBuilder {
    buckets.fold(builder, |builder, (name, bounds)| {
        builder
            .set_buckets_for_metric(Matcher::Suffix(name.to_owned()), bounds)
            .expect("the builder has checked that there are bounds")
    })
}

/// The upkeep lasts as long as this.
enum Kept {
    /// Our recorder: metrics, or the process, may hold it after the last handle is dropped, and its
    /// samples must be folded then as well.
    Recorder(Weak<PrometheusRecorder>),
    /// The application's: only our handle shows how long it is needed.
    Handle(Weak<Inner>),
}

impl Kept {
    fn handle(&self) -> Option<PrometheusHandle> {
        match self {
            Self::Recorder(recorder) => recorder.upgrade().map(|recorder| recorder.handle()),
            Self::Handle(inner) => inner.upgrade().map(|inner| inner.handle.clone()),
        }
    }
}

fn upkeep(kept: &Kept) {
    loop {
        thread::park_timeout(UPKEEP);
        let Some(handle) = kept.handle() else {
            return;
        };
        handle.run_upkeep();
    }
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prometheus").finish_non_exhaustive()
    }
}

/// The process has a metrics recorder already, and can have one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlreadyInstalled;

impl fmt::Display for AlreadyInstalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the process already has a metrics recorder")
    }
}

impl Error for AlreadyInstalled {}

/// Answers GET and HEAD with all metrics in the Prometheus text format, and OPTIONS with the
/// status that GET has.
///
/// Made by [`Prometheus::service`]. It renders while it is called, so put it on the operations
/// endpoint and not on the application's runtime.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use http::Request;
/// use tower::ServiceExt;
/// use tower_ops_metrics::Metrics;
///
/// let (_metrics, prometheus) = Metrics::builder().build_prometheus()?;
/// let response = prometheus.service().oneshot(Request::new(())).await?;
/// assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MetricsService {
    prometheus: Prometheus,
}

impl<B> Service<Request<B>> for MetricsService {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = request.method();
        let answer = match *method {
            Method::GET | Method::HEAD => Answer::text(StatusCode::OK, self.prometheus.render())
                .with_content_type("text/plain; version=0.0.4"),
            // Its answer has no body: nothing is rendered for it.
            Method::OPTIONS => Answer::text(StatusCode::OK, ""),
            _ => Answer::method_not_allowed(&["GET", "HEAD"]),
        };
        ready(Ok(answer.into_response(method)))
    }
}
