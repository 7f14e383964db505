use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use tower_ops_lifecycle::Lifecycle;
use tower_ops_metrics::{MetricsService, Prometheus};
use tower_service::Service;

/// `/metrics`: with the uptime of this moment, or how to have any metrics here.
#[derive(Clone, Debug)]
pub(crate) struct MetricsPage {
    metrics: Option<MetricsService>,
    lifecycle: Lifecycle,
}

impl MetricsPage {
    pub(crate) fn new(prometheus: Option<&Prometheus>, lifecycle: &Lifecycle) -> Self {
        Self {
            metrics: prometheus.map(Prometheus::service),
            lifecycle: lifecycle.clone(),
        }
    }
}

const FOREIGN: &str = "The application installed a metrics recorder of its own, and the metrics go \
     there.\nTo show it here: Ops::builder(..).prometheus(Prometheus::from_handle(handle))\n";

impl<B> Service<Request<B>> for MetricsPage {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(metrics) = &mut self.metrics else {
            let mut response = Response::new(Full::from(FOREIGN));
            *response.status_mut() = StatusCode::NOT_FOUND;
            let text = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, text);
            return ready(Ok(response));
        };
        self.lifecycle.record_uptime();
        metrics.call(request)
    }
}
