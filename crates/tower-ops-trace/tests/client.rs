//! Spans of requests that go out, and what goes along with them.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::future::{Ready, pending, ready};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::retry::{Policy, RetryLayer};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_layer::Layer;
use tower_ops_observe::ObserveLayer;
use tower_ops_request_id::RequestIds;
use tower_ops_testing::{RawHttp1, Readied, ScriptedBody, Server};
use tower_ops_trace::{
    ClientSpans, ClientTraceLayer, Ratio, RetryCountLayer, Spans, TraceContext, TraceLayer,
};

#[path = "support/recorder.rs"]
mod recorder;
use recorder::{Recorder, SpanRecord};

const OUTGOING: &str = "outgoing_request";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn only(recorder: &Recorder) -> SpanRecord {
    let [span] = <[_; 1]>::try_from(recorder.named(OUTGOING)).ok().unwrap();
    span
}

fn answering(
    status: u16,
) -> impl Service<
    Request<()>,
    Response = Response<Full<Bytes>>,
    Error = Infallible,
    Future = Ready<Result<Response<Full<Bytes>>, Infallible>>,
> + Clone {
    Readied::from_fn(move |_: Request<()>| {
        let response = Response::builder().status(status);
        ready(Ok(response.body(Full::from("answer")).unwrap()))
    })
}

fn get(target: &str) -> Request<()> {
    Request::get(target).body(()).unwrap()
}

#[tokio::test]
async fn a_span_has_what_is_known_of_the_request() {
    let (recorder, _guard) = Recorder::start();
    let client = ClientTraceLayer::new().layer(answering(200));
    let Ok(response) = client
        .oneshot(get(
            "https://user:secret@api.example:8443/users/7?token=secret",
        ))
        .await;
    assert!(!only(&recorder).closed, "open to the end of the body");
    let Ok(_) = response.into_body().collect().await;

    let span = only(&recorder);
    assert!(span.closed);
    assert_eq!(span.parent, None);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("server.address", "api.example"),
        ("server.port", "8443"),
        ("url.full", "https://api.example:8443/users/7"),
        ("network.protocol.version", "1.1"),
        ("http.response.status_code", "200"),
        ("outcome", "completed"),
    ] {
        assert_eq!(span.get(name), Some(value), "{name}");
    }
    for name in [
        "error.type",
        "http.request.resend_count",
        "rpc.method",
        "otel.name",
    ] {
        assert_eq!(span.get(name), None, "{name}");
    }
    assert!(!format!("{:?}", span.fields).contains("secret"));
}

#[tokio::test]
async fn the_server_comes_from_the_target_or_the_configuration() {
    let asked = |request: Request<()>, configured: Option<&'static str>| async move {
        let (recorder, _guard) = Recorder::start();
        let mut spans = ClientSpans::new();
        if let Some(configured) = configured {
            spans = spans.with_server(configured.parse().unwrap());
        }
        let Ok(_) = spans
            .into_layer()
            .layer(answering(200))
            .oneshot(request)
            .await;
        let span = only(&recorder);
        let field = |name| span.get(name).unwrap_or("none").to_owned();
        (field("server.address"), field("server.port"))
    };
    let server = |target, configured| asked(get(target), configured);
    let pair = |address: &str, port: &str| (address.to_owned(), port.to_owned());
    assert_eq!(server("http://a/", None).await, pair("a", "80"));
    assert_eq!(server("https://[::1]/", None).await, pair("[::1]", "443"));
    assert_eq!(server("/path", None).await, pair("none", "none"));
    assert_eq!(server("/path", Some("b:50051")).await, pair("b", "50051"));
    assert_eq!(server("http://a:1/", Some("b:50051")).await, pair("a", "1"));
    for (host, address, port) in [
        ("c", "c", "none"),
        ("c:81", "c", "81"),
        ("[::1]", "[::1]", "none"),
        ("[::1]:81", "[::1]", "81"),
    ] {
        let mut request = get("/path");
        request.headers_mut().insert("host", host.parse().unwrap());
        assert_eq!(asked(request, None).await, pair(address, port), "{host}");
    }
}

#[tokio::test]
async fn an_answer_of_4xx_or_5xx_is_an_error_here() {
    for (status, error) in [
        (200, None),
        (302, None),
        (404, Some("404")),
        (503, Some("503")),
    ] {
        let (recorder, _guard) = Recorder::start();
        let layer = ClientSpans::new().with_otel_fields().into_layer();
        let Ok(response) = layer
            .layer(answering(status))
            .oneshot(get("http://a/"))
            .await;
        let Ok(_) = response.into_body().collect().await;
        let span = only(&recorder);
        assert_eq!(span.get("error.type"), error);
        assert_eq!(span.get("otel.status_code"), error.map(|_| "ERROR"));
        assert_eq!(span.get("otel.kind"), Some("client"));
        assert_eq!(span.get("otel.name"), Some("GET"));
    }
}

#[tokio::test]
async fn every_grpc_code_but_ok_is_an_error_here() {
    for (status, error) in [
        ("0", None),
        ("5", Some("NOT_FOUND")),
        ("13", Some("INTERNAL")),
    ] {
        let (recorder, _guard) = Recorder::start();
        let callee = Readied::from_fn(|_: Request<()>| {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static(status));
            let response = Response::builder().header("content-type", "application/grpc");
            let body = ScriptedBody::new().data("message").trailers(trailers);
            ready(Ok::<_, Infallible>(response.body(body).unwrap()))
        });
        let call = Request::post("/pkg.Service/Method").header("content-type", "application/grpc");
        let layer = ClientSpans::new().with_otel_fields().into_layer();
        let Ok(response) = layer.layer(callee).oneshot(call.body(()).unwrap()).await;
        response.into_body().collect().await.unwrap();
        let span = only(&recorder);
        assert_eq!(span.get("error.type"), error);
        assert_eq!(span.get("otel.name"), Some("pkg.Service/Method"));
        assert_eq!(span.get("rpc.method"), Some("pkg.Service/Method"));
        assert_eq!(span.get("rpc.system.name"), Some("grpc"));
        let code = error.unwrap_or("OK");
        assert_eq!(span.get("rpc.response.status_code"), Some(code));
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn a_connection_that_fails_is_an_error_and_a_caller_that_gives_up_is_none() {
    let (recorder, _guard) = Recorder::start();
    let failing = Readied::from_fn(|_: Request<()>| {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        ready(Err::<Response<Empty<Bytes>>, _>(refused))
    });
    let layer = ClientTraceLayer::new();
    assert!(
        layer
            .layer(failing)
            .oneshot(get("http://a/"))
            .await
            .is_err()
    );
    assert_eq!(only(&recorder).get("error.type"), Some("error"));

    let (recorder, _guard) = Recorder::start();
    let waiting =
        service_fn(|_: Request<()>| pending::<Result<Response<Empty<Bytes>>, Infallible>>());
    let mut exchange = Box::pin(layer.layer(waiting).oneshot(get("http://a/")));
    assert!(poll(exchange.as_mut()).is_pending());
    drop(exchange);
    let span = only(&recorder);
    assert!(span.closed);
    assert_eq!(span.get("outcome"), Some("cancelled_before_head"));
    assert_eq!(span.get("error.type"), None);

    let (recorder, _guard) = Recorder::start();
    let panicking = service_fn(|request: Request<()>| async move {
        assert_ne!(request.uri().path(), "/", "in the client");
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let mut exchange = Box::pin(layer.layer(panicking).oneshot(get("http://a/")));
    assert!(catch_unwind(AssertUnwindSafe(|| poll(exchange.as_mut()).is_ready())).is_err());
    drop(exchange);
    assert_eq!(only(&recorder).get("error.type"), Some("panic"));
}

/// Sends again what was answered with 503.
#[derive(Clone)]
struct On503;

impl<E> Policy<Request<()>, Response<Full<Bytes>>, E> for On503 {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<()>,
        result: &mut Result<Response<Full<Bytes>>, E>,
    ) -> Option<Self::Future> {
        let again = result
            .as_ref()
            .is_ok_and(|response| response.status() == 503);
        again.then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<()>) -> Option<Request<()>> {
        Some(request.clone())
    }
}

/// Takes the frames of the body where the policy wants to see the answer itself.
#[derive(Clone)]
struct Buffer<S>(S);

impl<S, B> Service<Request<()>> for Buffer<S>
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let (head, body) = answer.await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Response::from_parts(head, Full::new(body)))
        })
    }
}

#[tokio::test]
async fn every_attempt_has_a_span_and_knows_how_often_it_was_sent_before() {
    let (recorder, _guard) = Recorder::start();
    let parents = Arc::new(Mutex::new(Vec::new()));
    let sent = parents.clone();
    let callee = Readied::from_fn(move |request: Request<()>| {
        let mut sent = sent.lock().unwrap();
        sent.push(TraceContext::extract(request.headers()).unwrap().ids());
        let status = if sent.len() < 3 { 503 } else { 200 };
        let response = Response::builder().status(status);
        ready(Ok::<_, Infallible>(
            response.body(Full::from("answer")).unwrap(),
        ))
    });
    let client = ServiceBuilder::new()
        .layer(RetryCountLayer::new())
        .layer(RetryLayer::new(On503))
        .layer_fn(Buffer)
        .layer(ClientTraceLayer::new())
        .service(callee);
    let service = TraceLayer::new().layer(Readied::from_fn(move |_: Request<()>| {
        client.clone().oneshot(get("http://a/"))
    }));
    let mut request = get("/");
    request
        .headers_mut()
        .insert("traceparent", HeaderValue::from_static(SAMPLED));
    let Ok(response) = service.oneshot(request).await;
    assert_eq!(response.status(), 200);

    let spans = recorder.named(OUTGOING);
    let field = |name: &'static str| {
        spans
            .iter()
            .map(move |span| span.get(name).map(str::to_owned))
    };
    let text = |texts: [Option<&str>; 3]| texts.map(|it| it.map(str::to_owned)).to_vec();
    let counts: Vec<_> = field("http.request.resend_count").collect();
    assert_eq!(counts, text([None, Some("1"), Some("2")]));
    let errors: Vec<_> = field("error.type").collect();
    assert_eq!(errors, text([Some("503"), Some("503"), None]));
    for (span, sent) in spans.iter().zip(&*parents.lock().unwrap()) {
        assert_eq!(span.parent, Some(0), "all are children of the exchange's");
        assert_eq!(span.get("span_id"), Some(sent.span_id_hex().as_str()));
        assert_eq!(sent.trace_id_hex().as_str(), TRACE);
    }
}

/// The headers with which a request goes out of a handler, or out of nowhere.
async fn sent(spans: ClientSpans, within: bool, request: Request<()>) -> HeaderMap {
    let headers = Arc::new(Mutex::new(HeaderMap::new()));
    let sink = headers.clone();
    let client = spans
        .into_layer()
        .layer(Readied::from_fn(move |request: Request<()>| {
            *sink.lock().unwrap() = request.headers().clone();
            ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
        }));
    if within {
        let request = Mutex::new(Some(request));
        let layer = ObserveLayer::new((RequestIds::new(), Spans::new()));
        let service = layer.layer(Readied::from_fn(|_: Request<()>| {
            client
                .clone()
                .oneshot(request.lock().unwrap().take().unwrap())
        }));
        let incoming = Request::get("/")
            .header("x-request-id", "order-7")
            .header("traceparent", SAMPLED)
            .header("tracestate", "vendor=1");
        let Ok(_) = service.oneshot(incoming.body(()).unwrap()).await;
    } else {
        let Ok(_) = client.oneshot(request).await;
    }
    std::mem::take(&mut headers.lock().unwrap())
}

#[tokio::test]
async fn the_trace_and_the_request_id_go_along() {
    let headers = sent(ClientSpans::new(), true, get("http://a/")).await;
    assert_eq!(headers["x-request-id"], "order-7");
    assert_eq!(headers["tracestate"], "vendor=1");
    let ids = TraceContext::extract(&headers).unwrap().ids();
    assert_eq!(ids.trace_id_hex().as_str(), TRACE);

    // What is there already: the trace's is replaced, the request id stays.
    let mut given = get("http://a/");
    for (name, value) in [
        (
            "traceparent",
            "00-11111111111111111111111111111111-1111111111111111-00",
        ),
        ("x-request-id", "another"),
    ] {
        given
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    let headers = sent(ClientSpans::new(), true, given).await;
    assert_eq!(headers["x-request-id"], "another");
    let ids = TraceContext::extract(&headers).unwrap().ids();
    assert_eq!(ids.trace_id_hex().as_str(), TRACE);

    let own = ClientSpans::new().with_request_id_header("x-correlation-id".parse().unwrap());
    let headers = sent(own, true, get("http://a/")).await;
    assert_eq!(headers["x-correlation-id"], "order-7");
    let none = ClientSpans::new().without_request_id();
    assert!(
        !sent(none, true, get("http://a/"))
            .await
            .contains_key("x-request-id")
    );
}

#[tokio::test]
async fn outside_of_any_exchange_a_trace_begins() {
    let mut given = get("http://a/");
    given
        .headers_mut()
        .insert("tracestate", HeaderValue::from_static("stale=1"));
    let headers = sent(ClientSpans::new(), false, given).await;
    let context = TraceContext::extract(&headers).unwrap();
    assert!(context.ids().is_sampled() && context.ids().is_random());
    assert!(!headers.contains_key("tracestate") && !headers.contains_key("x-request-id"));

    let quiet = ClientSpans::new().with_ratio(Ratio::NONE);
    let headers = sent(quiet, false, get("http://a/")).await;
    assert!(!TraceContext::extract(&headers).unwrap().ids().is_sampled());
}

#[tokio::test]
async fn a_task_keeps_the_trace_and_the_request_id_if_it_is_told_to() {
    let headers = Arc::new(Mutex::new(Vec::new()));
    let sink = headers.clone();
    let client = ClientTraceLayer::new().layer(Readied::from_fn(move |request: Request<()>| {
        sink.lock().unwrap().push(request.headers().clone());
        ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    }));
    let layer = ObserveLayer::new((RequestIds::new(), Spans::new()));
    let service = layer.layer(Readied::from_fn(move |_: Request<()>| {
        let (with, without) = (client.clone(), client.clone());
        async move {
            let kept = TraceContext::current().unwrap();
            let task = kept.scope(async move {
                tokio::task::yield_now().await;
                with.oneshot(get("http://a/")).await
            });
            let Ok(_) = tower_ops_request_id::spawn(task).await.unwrap();
            assert!(TraceContext::current().is_some(), "still");
            let Ok(_) = tokio::spawn(without.oneshot(get("http://a/")))
                .await
                .unwrap();
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    }));
    let incoming = Request::get("/")
        .header("x-request-id", "order-7")
        .header("traceparent", SAMPLED)
        .header("tracestate", "vendor=1");
    let Ok(_) = service.oneshot(incoming.body(()).unwrap()).await;

    let headers = headers.lock().unwrap();
    let trace = |at: usize| {
        TraceContext::extract(&headers[at])
            .unwrap()
            .ids()
            .trace_id_hex()
    };
    assert_eq!(trace(0).as_str(), TRACE);
    assert_eq!(headers[0]["tracestate"], "vendor=1");
    assert_eq!(headers[0]["x-request-id"], "order-7");
    assert_ne!(trace(1).as_str(), TRACE);
    assert!(!headers[1].contains_key("x-request-id"));
}

/// Serves requests through a server that calls on, over sockets, to one that fails in its trailers.
async fn chain(http2: bool) -> (SocketAddr, [Server; 2]) {
    let inner = TraceLayer::new().layer(Readied::from_fn(async |_: Request<Incoming>| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("13"));
        let body = ScriptedBody::new().data("message").trailers(trailers);
        let response = Response::builder()
            .header("content-type", "application/grpc")
            .header("trailer", "grpc-status");
        Ok::<_, Infallible>(response.body(body).unwrap())
    }));
    let inner = Server::spawn(inner).await;
    let addr = inner.addr();
    let client = Client::builder(TokioExecutor::new())
        .http2_only(http2)
        .build_http();
    let client = ClientTraceLayer::new().layer(client);
    let outer = TraceLayer::new().layer(Readied::from_fn(move |_: Request<Incoming>| {
        let client = client.clone();
        async move {
            let version = if http2 {
                Version::HTTP_2
            } else {
                Version::HTTP_11
            };
            let call = Request::post(format!("http://{addr}/pkg.Service/Method"))
                .version(version)
                .header("te", "trailers")
                .header("content-type", "application/grpc");
            let call = call.body(Full::<Bytes>::from("message")).unwrap();
            let response = client.oneshot(call).await.unwrap();
            let body = response.into_body().collect().await.unwrap();
            let trailers = body.trailers().cloned().unwrap_or_default();
            let status = trailers.get("grpc-status").cloned();
            let failed = status.is_some_and(|status| status == "13");
            let response = Response::builder().status(if failed { 502 } else { 200 });
            Ok::<_, Infallible>(response.body(Empty::<Bytes>::new()).unwrap())
        }
    }));
    let outer = Server::spawn(outer).await;
    (outer.addr(), [outer, inner])
}

#[tokio::test]
async fn a_call_over_http_1_and_http_2_is_one_trace_and_its_failure_is_seen_on_both_sides() {
    for http2 in [false, true] {
        let (recorder, _guard) = Recorder::start();
        let (addr, _servers) = chain(http2).await;
        let mut caller = RawHttp1::connect(addr).await.unwrap();
        let headers = [("traceparent", SAMPLED)];
        caller.send_request("GET", "/", &headers, "").await.unwrap();
        assert_eq!(
            caller.read_head().await.unwrap().status,
            502,
            "HTTP/2: {http2}"
        );

        let outgoing = only(&recorder);
        let [a, b] = <[_; 2]>::try_from(recorder.requests()).ok().unwrap();
        let parent = outgoing
            .parent
            .map(|parent| recorder.0.lock().unwrap().spans[parent].clone());
        assert_eq!(parent.unwrap().get("span_id"), a.get("span_id"));
        assert_eq!(a.get("error.type"), Some("502"));
        for span in [&outgoing, &b] {
            assert_eq!(span.get("rpc.response.status_code"), Some("INTERNAL"));
            assert_eq!(span.get("error.type"), Some("INTERNAL"));
            assert_eq!(span.get("rpc.method"), Some("pkg.Service/Method"));
        }
        for span in [&a, &outgoing, &b] {
            assert_eq!(span.get("trace_id"), Some(TRACE));
            let version = if http2 { "2" } else { "1.1" };
            if span.get("span_id") != a.get("span_id") {
                assert_eq!(span.get("network.protocol.version"), Some(version));
            }
        }
    }
}
