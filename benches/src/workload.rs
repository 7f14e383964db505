use std::{convert::Infallible, fmt::Debug, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
    routing::{Route, get},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_body_util::BodyExt;
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, Service, ServiceExt};

const BODY: &str = "hello world";

/// Requests between two yields to the scheduler. Below tokio's budget of 128 timer polls, because only a
/// stack with a timeout would run out of that, and be charged for yields that the others do not make.
const YIELD_EVERY: usize = 100;

/// Requests between two drains of the recorder. A drain is part of what a recorder costs; this is often
/// enough that what it drains still lies in the cache, as it would not with the usual five seconds.
const UPKEEP_EVERY: usize = 1_000;

/// A stack that is ready to answer requests, and the one loop that sends them.
pub struct Workload {
    service: Box<dyn Answer>,
    upkeep: Box<dyn Fn()>,
}

impl Workload {
    /// The route without any layer.
    pub(crate) fn bare() -> Self {
        Self::new(router().with_state(()))
    }

    /// The layer inside the router, applied once, as by `Router::layer`.
    pub(crate) fn inside<L>(layer: L) -> Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request, Error: Into<Infallible>, Response: IntoResponse, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        Self::new(router().layer(layer).with_state(()))
    }

    /// The layer around the router, as for `axum::serve(listener, layered.into_make_service())`.
    pub(crate) fn around<L, B>(layer: L) -> Self
    where
        L: Layer<Router>,
        L::Service: Service<Request, Response = http::Response<B>, Error: Debug> + Clone + 'static,
        B: http_body::Body<Data = Bytes, Error: Debug> + 'static,
    {
        Self::new(layer.layer(router().with_state(())))
    }

    /// Something to be done between requests, at the stack's expense: draining a recorder.
    pub(crate) fn with_upkeep(self, upkeep: impl Fn() + 'static) -> Self {
        Self {
            upkeep: Box::new(upkeep),
            ..self
        }
    }

    /// The requests bring an id, as behind a proxy that sets one.
    pub(crate) fn with_inbound_id(mut self) -> Self {
        self.service.send(Head::with_id());
        self
    }

    fn new<S, B>(service: S) -> Self
    where
        S: Service<Request, Response = http::Response<B>, Error: Debug> + Clone + 'static,
        B: http_body::Body<Data = Bytes, Error: Debug> + 'static,
    {
        let head = Head::new();
        Self {
            service: Box::new(Connection { service, head }),
            upkeep: Box::new(|| {}),
        }
    }

    /// Sends `requests` requests, one after the other, each response's body to its end.
    ///
    /// # Panics
    ///
    /// Panics if the stack answers anything but what the route says.
    pub fn run(&self, runtime: &Runtime, requests: usize) {
        self.service.run(runtime, requests, &*self.upkeep);
    }

    /// The runtime for a workload: one thread, I/O and time, and a timer that is always near.
    ///
    /// The near timer is what a server under load has. Without one every timeout of 30 s would be the next
    /// timer to fire, and tokio writes to an eventfd to tell its driver so.
    ///
    /// # Errors
    ///
    /// Fails if the system has no resources for another runtime.
    pub fn runtime() -> std::io::Result<Runtime> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.spawn(async {
            let mut ticker = tokio::time::interval(Duration::from_secs(1));
            loop {
                ticker.tick().await;
            }
        });
        // The ticker starts before the first request, not at its first yield.
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        Ok(runtime)
    }
}

impl Debug for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workload").finish_non_exhaustive()
    }
}

fn router() -> Router {
    Router::new().route("/users/{id}", get(async || BODY))
}

/// Hides the type of the service once per run, so that no request pays for it.
trait Answer {
    /// Sends this head from now on.
    fn send(&mut self, head: Head);

    fn run(&self, runtime: &Runtime, requests: usize, upkeep: &dyn Fn());
}

struct Connection<S> {
    service: S,
    head: Head,
}

impl<S, B> Answer for Connection<S>
where
    S: Service<Request, Response = http::Response<B>, Error: Debug> + Clone,
    B: http_body::Body<Data = Bytes, Error: Debug>,
{
    fn send(&mut self, head: Head) {
        self.head = head;
    }

    fn run(&self, runtime: &Runtime, requests: usize, upkeep: &dyn Fn()) {
        runtime.block_on(async {
            for sent in 1..=requests {
                self.exchange().await;
                if sent % YIELD_EVERY == 0 {
                    tokio::task::yield_now().await;
                }
                if sent % UPKEEP_EVERY == 0 {
                    upkeep();
                }
            }
        });
    }
}

impl<S, B> Connection<S>
where
    S: Service<Request, Response = http::Response<B>, Error: Debug> + Clone,
    B: http_body::Body<Data = Bytes, Error: Debug>,
{
    async fn exchange(&self) {
        // hyper-util clones the service and readies the clone for each request.
        let response = self.service.clone().oneshot(self.head.request()).await;
        let response: Response<B> = response.expect("the service answers");
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = std::pin::pin!(response.into_body());
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame
                .expect("the body ends well")
                .data_ref()
                .map_or(0, Bytes::len);
        }
        assert_eq!(bytes, BODY.len());
    }
}

/// The head of a request as hyper has it before each request: one shared buffer and where the names and
/// values lie in it.
struct Head {
    target: Bytes,
    fields: Vec<(Bytes, Bytes)>,
}

impl Head {
    const FIELDS: [(&str, &str); 5] = [
        ("Host", "localhost:3000"),
        ("User-Agent", "tower-ops-bench/1.0"),
        ("Accept", "*/*"),
        ("Accept-Encoding", "gzip, br"),
        ("Content-Type", "application/json"),
    ];

    fn new() -> Self {
        Self::of(&Self::FIELDS)
    }

    fn with_id() -> Self {
        let id = ("X-Request-Id", "0b5c2ad6-5f3e-4c1b-9d58-7f3a2c9e1d40");
        let fields: Vec<_> = Self::FIELDS.into_iter().chain([id]).collect();
        Self::of(&fields)
    }

    fn of(fields: &[(&str, &str)]) -> Self {
        let mut buffer = Vec::new();
        let mut spans = Vec::new();
        let texts = fields.iter().flat_map(|(name, value)| [*name, *value]);
        for text in ["/users/42"].into_iter().chain(texts) {
            let start = buffer.len();
            buffer.extend_from_slice(text.as_bytes());
            spans.push(start..buffer.len());
        }
        let buffer = Bytes::from(buffer);
        let mut slices = spans.into_iter().map(|span| buffer.slice(span));
        let target = slices.next().unwrap_or_default();
        let mut fields = Vec::new();
        while let (Some(name), Some(value)) = (slices.next(), slices.next()) {
            fields.push((name, value));
        }
        Self { target, fields }
    }

    /// A request, built as hyper does: names parsed, values sharing the buffer, the map sized beforehand.
    fn request(&self) -> Request {
        let mut headers = HeaderMap::with_capacity(self.fields.len());
        for (name, value) in &self.fields {
            let name = HeaderName::from_bytes(name).expect("a valid name");
            let value = HeaderValue::from_maybe_shared(value.clone()).expect("a valid value");
            headers.append(name, value);
        }
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = Uri::from_maybe_shared(self.target.clone()).expect("a valid target");
        *request.headers_mut() = headers;
        request
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use tower::{layer::util::Identity, util::MapResponseLayer};
    use tower_http::trace::TraceLayer;

    use super::*;

    #[test]
    fn a_layer_around_the_router_may_change_the_body() {
        let runtime = Workload::runtime().unwrap();
        Workload::around(TraceLayer::new_for_http()).run(&runtime, 2);
    }

    #[test]
    fn upkeep_runs_between_requests() {
        let runtime = Workload::runtime().unwrap();
        let times = Rc::new(Cell::new(0));
        let counted = Rc::clone(&times);
        let workload =
            Workload::inside(Identity::new()).with_upkeep(move || counted.set(counted.get() + 1));
        workload.run(&runtime, 2 * UPKEEP_EVERY);
        assert_eq!(times.get(), 2);
    }

    #[test]
    #[should_panic(expected = "assertion `left == right` failed")]
    fn a_stack_that_answers_otherwise_is_not_measured() {
        let runtime = Workload::runtime().unwrap();
        let failing = MapResponseLayer::new(|_: Response| StatusCode::FORBIDDEN.into_response());
        Workload::inside(failing).run(&runtime, 1);
    }
}
