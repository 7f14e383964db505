use std::{
    convert::Infallible,
    fmt::{self, Debug},
    future::{Future, poll_fn},
    io,
    pin::pin,
    time::Duration,
};

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
use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};
use tower::{Layer, Service, ServiceExt, layer::util::Identity};

use crate::counting::counted;

pub(crate) const BODY: &str = "hello world";

/// Requests between two yields to the scheduler. Below tokio's budget of 128 timer polls, because only a
/// stack with a timeout would run out of that, and be charged for yields that the others do not make.
const YIELD_EVERY: usize = 100;

/// Requests between two drains of the recorder. A drain is part of what a recorder costs; this is often
/// enough that what it drains still lies in the cache, as it would not with the usual five seconds.
const UPKEEP_EVERY: usize = 1_000;

/// A stack that is ready to answer requests.
pub struct Workload {
    connect: Box<Connect>,
    head: Head,
    upkeep: Box<dyn Fn() + Send + Sync>,
}

/// Opens a connection to the stack from a thread with a runtime of its own.
type Connect = dyn Fn(&Runtime, Head) -> Box<dyn Connection> + Send + Sync;

impl Workload {
    /// The route without any layer.
    pub(crate) fn bare() -> Self {
        Self::around(Identity::new())
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
        Self::of(router().layer(layer))
    }

    /// The layer around the router, as for `axum::serve(listener, layered.into_make_service())`.
    pub(crate) fn around<L, B>(layer: L) -> Self
    where
        L: Layer<Router>,
        L::Service: Service<Request, Response = http::Response<B>, Error: Debug>
            + Clone
            + Send
            + Sync
            + 'static,
        B: http_body::Body<Data = Bytes, Error: Debug> + 'static,
    {
        Self::calling(layer.layer(router().with_state(())))
    }

    /// The [`router`] with layers.
    pub(crate) fn of(layered: Router) -> Self {
        Self::calling(layered.with_state(()))
    }

    /// Connections that are opened so.
    pub(crate) fn connecting<C>(
        connect: impl Fn(&Runtime, Head) -> C + Send + Sync + 'static,
    ) -> Self
    where
        C: Connection + 'static,
    {
        Self {
            connect: Box::new(move |runtime, head| Box::new(connect(runtime, head))),
            head: Head::new(),
            upkeep: Box::new(|| {}),
        }
    }

    /// Something to be done between requests, at the stack's expense: draining a recorder.
    pub(crate) fn with_upkeep(self, upkeep: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            upkeep: Box::new(upkeep),
            ..self
        }
    }

    /// The requests bring an id, as behind a proxy that sets one.
    pub(crate) fn with_inbound_id(self) -> Self {
        Self {
            head: Head::with_id(),
            ..self
        }
    }

    fn calling<S, B>(service: S) -> Self
    where
        S: Service<Request, Response = http::Response<B>, Error: Debug>
            + Clone
            + Send
            + Sync
            + 'static,
        B: http_body::Body<Data = Bytes, Error: Debug> + 'static,
    {
        Self::connecting(move |_, head| Calls {
            service: service.clone(),
            head,
        })
    }

    /// Opens a connection for this thread, which also does the upkeep.
    #[must_use]
    pub fn client(&self, runtime: Runtime) -> Client<'_> {
        Client {
            connection: (self.connect)(&runtime, self.head.clone()),
            runtime,
            upkeep: &*self.upkeep,
        }
    }

    /// Opens a connection for another thread. Upkeep is done by one thread only.
    #[must_use]
    pub fn second_client(&self, runtime: Runtime) -> Client<'_> {
        Client {
            upkeep: &|| {},
            ..self.client(runtime)
        }
    }

    /// The runtime for a client: one thread, I/O and time, and a timer that is always near.
    ///
    /// The near timer is what a server under load has. Without one every timeout of 30 s would be the next
    /// timer to fire, and tokio writes to an eventfd to tell its driver so.
    ///
    /// # Errors
    ///
    /// Fails if the system has no resources for another runtime.
    pub fn runtime() -> io::Result<Runtime> {
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workload").finish_non_exhaustive()
    }
}

/// A connection to a stack, and the thread's runtime that serves it.
pub struct Client<'a> {
    connection: Box<dyn Connection>,
    runtime: Runtime,
    upkeep: &'a (dyn Fn() + Send + Sync),
}

impl Client<'_> {
    /// Sends so many requests, one after the other, each response's body to its end.
    ///
    /// # Panics
    ///
    /// Panics if the stack answers anything but what the route says.
    pub fn run(&mut self, requests: usize) {
        self.send(Until::Sent(requests));
    }

    /// As [`run`](Self::run), until then. Returns how many requests were sent.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    pub fn run_until(&mut self, deadline: Instant) -> usize {
        self.send(Until::Time(deadline))
    }

    fn send(&mut self, until: Until) -> usize {
        self.connection.send(&self.runtime, until, self.upkeep)
    }
}

impl Debug for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// When to send no more.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Sent(usize),
    Time(Instant),
}

impl Until {
    fn is_reached(self, sent: usize) -> bool {
        match self {
            Self::Sent(requests) => sent == requests,
            // Between yields nobody looks at the clock, which would cost more than some layers.
            Self::Time(deadline) => sent.is_multiple_of(YIELD_EVERY) && Instant::now() >= deadline,
        }
    }
}

/// Hides the type of the service once per run, so that no request pays for it.
pub(crate) trait Connection {
    fn send(&mut self, runtime: &Runtime, until: Until, upkeep: &dyn Fn()) -> usize;
}

/// Makes exchange after exchange, and what has to be done in between. Returns how many.
pub(crate) async fn exchanges(
    until: Until,
    upkeep: &dyn Fn(),
    mut exchange: impl AsyncFnMut(),
) -> usize {
    let mut sent = 0;
    while !until.is_reached(sent) {
        exchange().await;
        sent += 1;
        if sent.is_multiple_of(YIELD_EVERY) {
            tokio::task::yield_now().await;
        }
        if sent.is_multiple_of(UPKEEP_EVERY) {
            upkeep();
        }
    }
    sent
}

pub(crate) fn router() -> Router {
    Router::new().route("/users/{id}", get(async || BODY))
}

/// Calls the service: no socket takes part.
struct Calls<S> {
    service: S,
    head: Head,
}

impl<S, B> Connection for Calls<S>
where
    S: Service<Request, Response = http::Response<B>, Error: Debug> + Clone,
    B: http_body::Body<Data = Bytes, Error: Debug>,
{
    fn send(&mut self, runtime: &Runtime, until: Until, upkeep: &dyn Fn()) -> usize {
        // Not the scheduler, nor its timers: only what is polled for a request.
        runtime.block_on(exchanges(until, &|| counted(upkeep), async || {
            let mut exchange = pin!(self.exchange());
            poll_fn(|cx| counted(|| exchange.as_mut().poll(cx))).await;
        }))
    }
}

impl<S, B> Calls<S>
where
    S: Service<Request, Response = http::Response<B>, Error: Debug> + Clone,
    B: http_body::Body<Data = Bytes, Error: Debug>,
{
    async fn exchange(&self) {
        // hyper-util clones the service and readies the clone for each request.
        let response = self.service.clone().oneshot(self.head.request()).await;
        let response: Response<B> = response.expect("the service answers");
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = pin!(response.into_body());
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
#[derive(Clone)]
pub(crate) struct Head {
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

    /// The same as HTTP/1 has it on the wire.
    pub(crate) fn on_the_wire(&self) -> Vec<u8> {
        let mut wire = [b"GET ", &*self.target, b" HTTP/1.1\r\n"].concat();
        for (name, value) in &self.fields {
            wire.extend([&**name, b": ", value, b"\r\n"].concat());
        }
        wire.extend(b"\r\n");
        wire
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
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tower::util::MapResponseLayer;
    use tower_http::trace::TraceLayer;

    use super::*;

    #[test]
    fn a_layer_around_the_router_may_change_the_body() {
        let workload = Workload::around(TraceLayer::new_for_http());
        workload.client(Workload::runtime().unwrap()).run(2);
    }

    #[test]
    fn upkeep_runs_between_the_requests_of_the_first_client() {
        let times = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&times);
        let workload = Workload::bare().with_upkeep(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let runtime = || Workload::runtime().unwrap();
        workload.client(runtime()).run(2 * UPKEEP_EVERY);
        workload.second_client(runtime()).run(2 * UPKEEP_EVERY);
        assert_eq!(times.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_deadline_ends_a_run() {
        let workload = Workload::bare();
        let mut client = workload.client(Workload::runtime().unwrap());
        assert_eq!(client.run_until(Instant::now()), 0);
        let sent = client.run_until(Instant::now() + Duration::from_millis(5));
        assert!(sent > 0 && sent.is_multiple_of(YIELD_EVERY), "{sent}");
    }

    #[test]
    #[should_panic(expected = "assertion `left == right` failed")]
    fn a_stack_that_answers_otherwise_is_not_measured() {
        let failing = MapResponseLayer::new(|_: Response| StatusCode::FORBIDDEN.into_response());
        Workload::inside(failing)
            .client(Workload::runtime().unwrap())
            .run(1);
    }
}
