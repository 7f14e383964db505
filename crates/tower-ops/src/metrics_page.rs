use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tower_ops_answer::{allow, has_body, secure};
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
            let body = if has_body(request.method()) {
                FOREIGN
            } else {
                ""
            };
            let mut response = Response::new(Full::from(body));
            *response.status_mut() = StatusCode::NOT_FOUND;
            let text = HeaderValue::from_static("text/plain; charset=utf-8");
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, text);
            if *request.method() == Method::OPTIONS {
                headers.insert(ALLOW, allow(&["GET", "HEAD"]));
            }
            secure(headers);
            return ready(Ok(response));
        };
        self.lifecycle.record_uptime();
        metrics.call(request)
    }
}
