use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tower_ops_health::{Probe, Probes};
use tower_ops_metrics::MetricsService;
use tower_service::Service;

const VERSION_HEADER: HeaderName = HeaderName::from_static("x-tower-ops-version");
const INDEX: &str = "/metrics\n/health\n/ready\n/startup\n";
const VERSION: HeaderValue = HeaderValue::from_static(env!("CARGO_PKG_VERSION"));

/// The operations endpoint as a tower service: `/metrics`, `/health`, `/ready`
/// and `/startup`. Made by [`Ops::operations`](crate::Ops::operations).
///
/// Every response carries `x-tower-ops-version`.
#[derive(Clone, Debug)]
pub struct Operations {
    probes: Probes,
    metrics: Option<MetricsService>,
}

impl Operations {
    pub(crate) const fn new(probes: Probes, metrics: Option<MetricsService>) -> Self {
        Self { probes, metrics }
    }
}

impl<B> Service<Request<B>> for Operations {
    type Response = Response<UnsyncBoxBody<Bytes, Infallible>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        let read = matches!(*request.method(), Method::GET | Method::HEAD);
        // The services answer at once; `into_inner` of a ready future gives it.
        let Ok(mut response) = match (path, &mut self.metrics) {
            ("/metrics", Some(metrics)) => box_body(metrics.call(request).into_inner()),
            ("/metrics", None) => Ok(foreign_recorder()),
            ("/", _) if read => Ok(text(StatusCode::OK, INDEX)),
            _ if Probe::ALL.iter().any(|probe| probe.path() == path) => {
                box_body(self.probes.call(request).into_inner())
            }
            _ => Ok(not_found()),
        };
        response.headers_mut().insert(VERSION_HEADER, VERSION);
        ready(Ok(response))
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

fn box_body<B>(response: Result<Response<B>, Infallible>) -> Result<Answer, Infallible>
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    response.map(|response| response.map(BodyExt::boxed_unsync))
}

fn not_found() -> Answer {
    let paths = r#"{"error":"not found","paths":["/","/metrics","/health","/ready","/startup"]}"#;
    let mut response = Response::new(Full::from(format!("{paths}\n")).boxed_unsync());
    *response.status_mut() = StatusCode::NOT_FOUND;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn foreign_recorder() -> Answer {
    text(
        StatusCode::NOT_FOUND,
        "The application installed a metrics recorder of its own, and the metrics go there.\n\
         To show it here: Ops::builder(..).prometheus(Prometheus::from_handle(handle))\n",
    )
}

fn text(status: StatusCode, text: &'static str) -> Answer {
    let mut response = Response::new(Full::from(text).boxed_unsync());
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
