use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use tower_ops_core::http::{Answer, AnswerBody};
use tower_ops_lifecycle::Lifecycle;
use tower_ops_metrics::{MetricsService, Prometheus};
use tower_service::Service;

/// `/metrics`: the metrics with the current uptime. If they go to a recorder that the bundle does
/// not have, the answer is how to give it to the bundle.
#[derive(Clone, Debug)]
pub(super) struct MetricsPage {
    prometheus: Option<Prometheus>,
    buckets: Arc<Buckets>,
    metrics: Option<MetricsService>,
    lifecycle: Lifecycle,
}

impl MetricsPage {
    pub(super) fn new(prometheus: Option<&Prometheus>, lifecycle: &Lifecycle) -> Self {
        // A recorder of ours has buckets for everything of ours.
        let foreign = prometheus.filter(|it| it.recorder().is_none());
        Self {
            prometheus: foreign.cloned(),
            buckets: Arc::default(),
            metrics: prometheus.map(Prometheus::service),
            lifecycle: lifecycle.clone(),
        }
    }
}

/// Detects, on the first scrapes, that the application's recorder makes summaries of our histograms.
#[derive(Debug, Default)]
struct Buckets {
    warned: AtomicBool,
    /// A check costs as much as a scrape, so only the first scrapes make it.
    checks: AtomicU8,
}

impl Buckets {
    fn is_due(&self) -> bool {
        const SCRAPES: u8 = 20;
        !self.warned.load(Ordering::Relaxed)
            && self.checks.load(Ordering::Relaxed) < SCRAPES
            && self.checks.fetch_add(1, Ordering::Relaxed) < SCRAPES
    }

    fn check(&self, prometheus: &Prometheus) {
        let is_summary = |line: &str| {
            line.starts_with("# TYPE ") && line.ends_with("_request_duration_seconds summary")
        };
        if prometheus.render().lines().any(is_summary) && !self.warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "durations and sizes are summaries on /metrics and not histograms: the recorder of \
                 the application has no buckets for them; build it with \
                 Metrics::builder().apply_buckets(PrometheusBuilder::new())"
            );
        }
    }
}

const FOREIGN: &str = "The application installed a metrics recorder of its own, and the metrics go \
     there.\nTo show it here: Ops::builder(..).prometheus(Prometheus::from_handle(handle))\n";

impl<B> Service<Request<B>> for MetricsPage {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(metrics) = &mut self.metrics else {
            let answer = Answer::text(StatusCode::NOT_FOUND, FOREIGN);
            return ready(Ok(answer.into_response(request.method())));
        };
        self.lifecycle.record_uptime();
        if let Some(prometheus) = self.prometheus.as_ref().filter(|_| self.buckets.is_due()) {
            self.buckets.check(prometheus);
        }
        metrics.call(request)
    }
}
