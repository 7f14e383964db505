use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tower_ops_connections::ConnectionsService;
use tower_ops_health::Probes;
use tower_ops_lifecycle::PreStop;
use tower_ops_metrics::MetricsService;
use tower_ops_requests::RequestsService;
use tower_service::Service;

const VERSION_HEADER: HeaderName = HeaderName::from_static("x-tower-ops-version");
const VERSION: HeaderValue = HeaderValue::from_static(env!("CARGO_PKG_VERSION"));

/// The operations endpoint as a tower service: `/metrics`, `/connections`,
/// `/requests`, `/health`, `/ready`, `/startup` and `/checks`. Made by
/// [`Ops::operations`](crate::Ops::operations).
///
/// Every response carries `x-tower-ops-version`.
#[derive(Clone, Debug)]
pub struct Operations {
    probes: Probes,
    metrics: Option<MetricsService>,
    connections: ConnectionsService,
    requests: Option<RequestsService>,
    prestop: Option<PreStop>,
}

impl Operations {
    pub(crate) const fn new(
        probes: Probes,
        metrics: Option<MetricsService>,
        connections: ConnectionsService,
        requests: Option<RequestsService>,
        prestop: Option<PreStop>,
    ) -> Self {
        Self {
            probes,
            metrics,
            connections,
            requests,
            prestop,
        }
    }

    fn paths(&self) -> impl Iterator<Item = &'static str> {
        let requests = self.requests.as_ref().map(|_| REQUESTS);
        ["/metrics", "/connections"]
            .into_iter()
            .chain(requests.into_iter().flatten())
            .chain(Probes::PATHS.iter().copied())
            .chain(self.prestop.as_ref().map(|_| PRESTOP))
    }
}

const PRESTOP: &str = "/prestop";
const REQUESTS: [&str; 3] = ["/requests", "/requests/history", "/requests/stats"];

impl<B> Service<Request<B>> for Operations {
    type Response = Response<UnsyncBoxBody<Bytes, Infallible>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        if path == PRESTOP
            && let Some(prestop) = &mut self.prestop
        {
            let answer = prestop.call(request);
            return Box::pin(async move {
                let Ok(mut response) = box_body(answer.await);
                response.headers_mut().insert(VERSION_HEADER, VERSION);
                Ok(response)
            });
        }
        let read = matches!(*request.method(), Method::GET | Method::HEAD);
        // The services answer at once; `into_inner` of a ready future gives it.
        let Ok(mut response) = match (path, &mut self.metrics, &mut self.requests) {
            ("/metrics", Some(metrics), _) => box_body(metrics.call(request).into_inner()),
            ("/metrics", None, _) => Ok(foreign_recorder()),
            (path, ..) if path == "/connections" || path.starts_with("/connections/") => {
                box_body(self.connections.call(request).into_inner())
            }
            ("/", ..) if read => Ok(self.index()),
            (path, _, Some(requests)) if REQUESTS.contains(&path) => {
                box_body(requests.call(request).into_inner())
            }
            _ if Probes::serves(path) => box_body(self.probes.call(request).into_inner()),
            _ => Ok(self.not_found()),
        };
        response.headers_mut().insert(VERSION_HEADER, VERSION);
        Box::pin(ready(Ok(response)))
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

fn box_body<B>(response: Result<Response<B>, Infallible>) -> Result<Answer, Infallible>
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    response.map(|response| response.map(BodyExt::boxed_unsync))
}

impl Operations {
    fn index(&self) -> Answer {
        let lines = self.paths().flat_map(|path| [path, "\n"]).collect();
        answer(StatusCode::OK, TEXT, lines)
    }

    fn not_found(&self) -> Answer {
        let paths: Vec<_> = self.paths().collect();
        let json = format!("{{\"error\":\"not found\",\"paths\":{paths:?}}}\n");
        answer(StatusCode::NOT_FOUND, "application/json", json)
    }
}

fn foreign_recorder() -> Answer {
    let text = "The application installed a metrics recorder of its own, and the metrics go there.\n\
         To show it here: Ops::builder(..).prometheus(Prometheus::from_handle(handle))\n";
    answer(StatusCode::NOT_FOUND, TEXT, text.into())
}

const TEXT: &str = "text/plain; charset=utf-8";

fn answer(status: StatusCode, content_type: &'static str, text: String) -> Answer {
    let mut response = Response::new(Full::from(text).boxed_unsync());
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
