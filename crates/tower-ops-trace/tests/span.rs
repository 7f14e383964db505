//! The span of an exchange: what stands in it, and how long it is open.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::future::{Ready, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;
use tower_ops_observe::{Ending, Facts, Observe, ObserveLayer, Route, RouteHook};
use tower_ops_request_id::{RequestIdLayer, RequestIds};
use tower_ops_testing::{Readied, ScriptedBody, ScriptedError};
use tower_ops_trace::{Spans, TraceLayer};
use tracing::{Metadata, Span, Subscriber};
use tracing_subscriber::layer::{Context as SpanContext, SubscriberExt};
use tracing_subscriber::registry::Registry;

#[path = "support/recorder.rs"]
mod recorder;
use recorder::Recorder;

/// A body that says so when it is polled and when it is dropped.
struct Logging(ScriptedBody);

impl Body for Logging {
    type Data = Bytes;
    type Error = ScriptedError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ScriptedError>>> {
        tracing::info!("poll");
        Pin::new(&mut self.0).poll_frame(cx)
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        tracing::info!("drop");
    }
}

struct LogOnDrop;

impl Drop for LogOnDrop {
    fn drop(&mut self) {
        tracing::info!("drop");
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn in_span(number: usize, messages: &[&str]) -> Vec<(String, Option<usize>)> {
    let event = |message: &&str| ((*message).to_owned(), Some(number));
    messages.iter().map(event).collect()
}

/// A service that answers each request with a new one of these bodies.
fn answering<B: Body>(
    body: impl Fn() -> B + Clone,
) -> impl Service<
    Request<()>,
    Response = Response<B>,
    Error = Infallible,
    Future = Ready<Result<Response<B>, Infallible>>,
> + Clone {
    Readied::from_fn(move |_: Request<()>| ready(Ok(Response::new(body()))))
}

fn unread() -> Request<()> {
    Request::new(())
}

#[tokio::test]
async fn the_span_is_current_in_the_handler_and_open_to_the_end_of_the_body() {
    let (recorder, _guard) = Recorder::start();
    let service = TraceLayer::new().layer(Readied::from_fn(|_: Request<()>| {
        tracing::info!("call");
        async {
            tracing::info!("before");
            tokio::task::yield_now().await;
            tracing::info!("after");
            let body = ScriptedBody::new().data("ab").pending().data("cd");
            Ok::<_, Infallible>(Response::new(Logging(body)))
        }
    }));
    let Ok(mut response) = service.oneshot(unread()).await;
    assert_eq!(recorder.events(), in_span(0, &["call", "before", "after"]));
    assert!(Span::current().is_none(), "between the head and the body");
    assert!(!recorder.request().closed);

    for expected in [&["poll"][..], &["poll", "poll"]] {
        response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(recorder.events(), in_span(0, expected));
        assert!(!recorder.request().closed);
        assert_eq!(recorder.request().get("outcome"), None);
    }
    assert!(response.body_mut().frame().await.is_none());
    assert_eq!(recorder.events(), in_span(0, &["poll"]));
    assert!(recorder.request().closed, "though the body is still there");
    assert_eq!(recorder.request().get("outcome"), Some("completed"));
    assert!(Span::current().is_none());
}

#[tokio::test]
async fn the_span_has_what_is_known_of_the_exchange() {
    let (recorder, _guard) = Recorder::start();
    let inner = Readied::from_fn(|_: Request<()>| {
        let response = Response::builder().status(StatusCode::CREATED);
        ready(Ok::<_, Infallible>(
            response.body(Full::<Bytes>::from("made")).unwrap(),
        ))
    });
    let layer = ObserveLayer::new((RequestIds::new(), Spans::new()));
    let service = layer.layer(RouteHook::named("/orders/{id}").layer(inner));
    let request = Request::put("/orders/7").header("x-request-id", "order-7");
    let Ok(response) = service.oneshot(request.body(()).unwrap()).await;
    let Ok(_) = response.into_body().collect().await;

    let span = recorder.request();
    assert_eq!(span.get("http.request.method"), Some("PUT"));
    assert_eq!(span.get("http.route"), Some("/orders/{id}"));
    assert_eq!(span.get("request_id"), Some("order-7"));
    assert_eq!(span.get("http.response.status_code"), Some("201"));
    assert_eq!(span.get("rpc.response.status_code"), None);
    assert_eq!(span.get("outcome"), Some("completed"));
    assert_eq!(span.get("url.scheme"), Some("http"));
    assert_eq!(span.get("network.protocol.version"), Some("1.1"));
    assert_eq!(span.get("trace_id").map(str::len), Some(32));
    assert_eq!(span.get("span_id").map(str::len), Some(16));
    assert_eq!(span.get("trace_flags"), Some("03"));
    assert_eq!(span.fields.len(), 10, "{:?}", span.fields);
    assert!(span.closed);
}

#[tokio::test]
async fn what_the_client_invents_stays_out() {
    let (recorder, _guard) = Recorder::start();
    let service = ObserveLayer::new((RequestIds::new(), Spans::new()))
        .layer(answering(Full::<Bytes>::default));
    let request = Request::builder()
        .method("INVENTED")
        .uri("/secret?token=secret")
        .header("x-request-id", "secret secret");
    let Ok(_) = service.oneshot(request.body(()).unwrap()).await;

    let span = recorder.request();
    assert_eq!(span.get("http.request.method"), Some("_OTHER"));
    assert_eq!(span.get("http.route"), None);
    assert_ne!(span.get("request_id"), None);
    assert!(!format!("{:?}", span.fields).contains("secret"));
}

#[tokio::test]
async fn a_request_id_layer_inside_fills_the_field_of_the_span() {
    let (recorder, _guard) = Recorder::start();
    let inner = RequestIdLayer::new().layer(answering(Full::<Bytes>::default));
    let service = TraceLayer::new().layer(inner);
    let Ok(response) = service.oneshot(unread()).await;
    let id = response.headers()["x-request-id"].to_str().unwrap();
    assert_eq!(recorder.request().get("request_id"), Some(id));
}

#[tokio::test]
async fn without_a_request_id_the_field_stays_empty() {
    let (recorder, _guard) = Recorder::start();
    let service = TraceLayer::new().layer(answering(Full::<Bytes>::default));
    let Ok(_) = service.oneshot(unread()).await;
    assert_eq!(recorder.request().get("request_id"), None);
}

fn grpc(path: &str) -> Request<()> {
    let request = Request::post(path).header("content-type", "application/grpc");
    request.body(()).unwrap()
}

fn grpc_service(
    status: &'static str,
) -> impl Service<Request<()>, Response = Response<ScriptedBody>, Error = Infallible> {
    Readied::from_fn(move |_: Request<()>| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        let body = ScriptedBody::new().data("message").trailers(trailers);
        let response = Response::builder().header("content-type", "application/grpc");
        ready(Ok(response.body(body).unwrap()))
    })
}

#[tokio::test]
async fn the_rpc_status_of_the_trailers_is_recorded() {
    let (recorder, _guard) = Recorder::start();
    for status in ["0", "5"] {
        let service = TraceLayer::new().layer(grpc_service(status));
        let Ok(response) = service.oneshot(grpc("/playground.Echo/Fail")).await;
        response.into_body().collect().await.unwrap();
    }
    let codes: Vec<_> = recorder.requests();
    let codes = codes.iter().map(|span| {
        assert_eq!(span.get("http.response.status_code"), Some("200"));
        assert_eq!(span.get("outcome"), Some("completed"));
        span.get("rpc.response.status_code")
    });
    assert_eq!(codes.collect::<Vec<_>>(), [Some("OK"), Some("NOT_FOUND")]);
}

#[tokio::test]
async fn a_grpc_method_is_the_route_from_its_first_call_on() {
    let (recorder, _guard) = Recorder::start();
    let layer = TraceLayer::new();
    let mut service = layer.layer(grpc_service("0"));
    for _ in 0..2 {
        let call = service.ready().await.unwrap();
        let Ok(response) = call.call(grpc("/playground.Echo/Unary")).await;
        response.into_body().collect().await.unwrap();
    }
    for span in recorder.requests() {
        assert_eq!(span.get("rpc.method"), Some("playground.Echo/Unary"));
        assert_eq!(span.get("rpc.system.name"), Some("grpc"));
        assert_eq!(span.get("http.route"), None);
    }
    assert_eq!(recorder.requests().len(), 2);
}

#[tokio::test]
async fn a_grpc_method_that_nobody_registered_is_other() {
    let (recorder, _guard) = Recorder::start();
    // As tonic's router says it: in the head, which has no body.
    let service = TraceLayer::new().layer(Readied::from_fn(|_: Request<()>| {
        let response = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "12");
        ready(Ok::<_, Infallible>(
            response.body(Empty::<Bytes>::new()).unwrap(),
        ))
    }));
    let Ok(_) = service.oneshot(grpc("/no.Service/Method")).await;
    let code = "rpc.response.status_code";
    assert_eq!(recorder.request().get(code), Some("UNIMPLEMENTED"));
    assert_eq!(recorder.request().get("rpc.method"), Some("_OTHER"));
}

#[test]
fn a_grpc_call_that_is_cut_before_it_is_known_is_other() {
    let (recorder, _guard) = Recorder::start();
    let slow = service_fn(|_: Request<()>| pending::<Result<Response<Empty<Bytes>>, Infallible>>());
    let mut exchange = Box::pin(
        TraceLayer::new()
            .layer(slow)
            .oneshot(grpc("/playground.Echo/Unary")),
    );
    assert!(poll(exchange.as_mut()).is_pending());
    assert_eq!(recorder.request().get("rpc.method"), None);
    drop(exchange);
    assert_eq!(recorder.request().get("rpc.method"), Some("_OTHER"));
}

/// Learns a route in two steps, as an exchange does that is nested in another service.
struct TwoSteps;

impl Observe for TwoSteps {
    type Exchange = ();

    fn on_request<B>(&self, _: &mut Request<B>, facts: &mut Facts) {
        facts.set_route(Route::from_static("/service"));
    }

    fn on_end(&self, (): &mut (), _: &Ending<'_>, _: &Facts) {}
}

#[tokio::test]
async fn a_route_that_a_hook_corrects_is_corrected_in_the_span() {
    let (recorder, _guard) = Recorder::start();
    let hook = RouteHook::named("/service/users/{id}");
    let service = ObserveLayer::new((TwoSteps, Spans::new()))
        .layer(hook.layer(answering(Full::<Bytes>::default)));
    let Ok(_) = service.oneshot(unread()).await;
    let span = recorder.request();
    assert_eq!(span.last("http.route"), Some("/service/users/{id}"));
    let routes = span.fields.iter().filter(|(name, _)| *name == "http.route");
    assert_eq!(routes.count(), 2, "known early, corrected once");
}

#[tokio::test]
async fn a_route_that_does_not_change_is_recorded_once() {
    let (recorder, _guard) = Recorder::start();
    let service = ObserveLayer::new((TwoSteps, Spans::new()))
        .layer(RouteHook::named("/service").layer(answering(Full::<Bytes>::default)));
    let Ok(_) = service.oneshot(unread()).await;
    assert_eq!(recorder.request().get("http.route"), Some("/service"));
}

#[test]
fn a_handler_that_is_cancelled_closes_the_span_and_is_dropped_in_it() {
    let (recorder, _guard) = Recorder::start();
    let service = RouteHook::named("/slow").layer(service_fn(|_: Request<()>| async {
        let _guard = LogOnDrop;
        pending::<Result<Response<Empty<Bytes>>, Infallible>>().await
    }));
    let mut exchange = Box::pin(TraceLayer::new().layer(service).oneshot(unread()));
    assert!(poll(exchange.as_mut()).is_pending());
    assert!(!recorder.request().closed);
    drop(exchange);

    let span = recorder.request();
    assert!(span.closed);
    assert_eq!(span.get("outcome"), Some("cancelled_before_head"));
    assert_eq!(span.get("http.route"), Some("/slow"));
    assert_eq!(span.get("http.response.status_code"), None);
    assert_eq!(recorder.events(), in_span(0, &["drop"]));
}

#[tokio::test]
async fn a_body_that_is_cut_closes_the_span_and_is_dropped_in_it() {
    for frames in [0, 1] {
        let (recorder, _guard) = Recorder::start();
        let service = TraceLayer::new().layer(answering(|| {
            Logging(ScriptedBody::new().data("ab").data("cd"))
        }));
        let Ok(mut response) = service.oneshot(unread()).await;
        for _ in 0..frames {
            response.body_mut().frame().await.unwrap().unwrap();
        }
        recorder.events();
        drop(response);

        let span = recorder.request();
        assert!(span.closed);
        assert_eq!(span.get("outcome"), Some("cancelled_during_body"));
        assert_eq!(span.get("http.response.status_code"), Some("200"));
        assert_eq!(recorder.events(), in_span(0, &["drop"]));
    }
}

#[tokio::test]
async fn an_error_closes_the_span() {
    let (recorder, _guard) = Recorder::start();
    let failing = Readied::from_fn(|_: Request<()>| {
        ready(Err::<Response<Empty<Bytes>>, _>("an error that is none"))
    });
    let error = TraceLayer::new().layer(failing).oneshot(unread()).await;
    assert_eq!(error.unwrap_err(), "an error that is none");
    assert_eq!(recorder.request().get("outcome"), Some("failed"));
    assert!(recorder.request().closed);
}

#[tokio::test]
async fn a_body_error_closes_the_span() {
    let (recorder, _guard) = Recorder::start();
    let service =
        TraceLayer::new().layer(answering(|| ScriptedBody::new().data("ab").error("broken")));
    let Ok(response) = service.oneshot(unread()).await;
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error, ScriptedError::new("broken"));
    assert_eq!(recorder.request().get("outcome"), Some("body_failed"));
    assert!(recorder.request().closed);
}

#[tokio::test]
async fn an_answer_without_a_body_closes_the_span_with_its_head() {
    let (recorder, _guard) = Recorder::start();
    let service = TraceLayer::new().layer(answering(Empty::<Bytes>::new));
    let Ok(response) = service.oneshot(unread()).await;
    assert_eq!(recorder.request().get("outcome"), Some("completed"));
    assert!(recorder.request().closed);
    drop(response);

    let (recorder, _guard) = Recorder::start();
    let switching = Readied::from_fn(|_: Request<()>| {
        let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        ready(Ok::<_, Infallible>(
            response.body(ScriptedBody::new().stalled()).unwrap(),
        ))
    });
    let upgrade = Request::get("/").header("upgrade", "websocket");
    let service = TraceLayer::new().layer(switching);
    let Ok(_response) = service.oneshot(upgrade.body(()).unwrap()).await;
    assert_eq!(recorder.request().get("outcome"), Some("upgraded"));
    assert!(recorder.request().closed);
}

/// Unwinds out of a future's poll, and then drops it as a server does.
fn unwind(future: impl Future) {
    let mut future = Box::pin(future);
    let unwound = catch_unwind(AssertUnwindSafe(|| poll(future.as_mut()).is_ready()));
    assert!(unwound.is_err());
    assert!(Span::current().is_none(), "the span was left");
}

#[test]
fn a_panic_closes_the_span() {
    let (recorder, _guard) = Recorder::start();
    let in_call = service_fn(
        |_: Request<()>| -> Ready<Result<Response<Empty<Bytes>>, Infallible>> {
            panic!("in the call");
        },
    );
    unwind(TraceLayer::new().layer(in_call).oneshot(unread()));

    let in_future = service_fn(|request: Request<()>| async move {
        assert_ne!(request.method(), http::Method::GET, "in the future");
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    unwind(TraceLayer::new().layer(in_future).oneshot(unread()));

    let in_body = answering(|| ScriptedBody::new().data("ab").panic());
    let exchange = TraceLayer::new().layer(in_body).oneshot(unread());
    let Poll::Ready(Ok(response)) = poll(pin!(exchange)) else {
        panic!("answers at once");
    };
    unwind(response.into_body().collect());

    let spans = recorder.requests();
    assert_eq!(spans.len(), 3);
    for (span, status) in spans.iter().zip([None, None, Some("200")]) {
        assert_eq!(span.get("outcome"), Some("panicked"));
        assert_eq!(span.get("http.response.status_code"), status);
        assert!(span.closed);
    }
}

#[tokio::test]
async fn a_task_that_takes_the_span_along_keeps_it_open_but_not_its_record() {
    let (recorder, _guard) = Recorder::start();
    let kept = Arc::new(Mutex::new(Span::none()));
    let keep = kept.clone();
    let service = TraceLayer::new().layer(Readied::from_fn(move |_: Request<()>| {
        *keep.lock().unwrap() = Span::current();
        ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    }));
    let Ok(_) = service.oneshot(unread()).await;
    assert_eq!(recorder.request().get("outcome"), Some("completed"));
    assert!(!recorder.request().closed);
    *kept.lock().unwrap() = Span::none();
    assert!(recorder.request().closed);
}

#[tokio::test]
async fn the_span_is_a_child_of_the_one_around_it() {
    let (recorder, _guard) = Recorder::start();
    let service = TraceLayer::new().layer(answering(Empty::<Bytes>::new));
    let around = tracing::info_span!("around");
    {
        let _entered = around.enter();
        let Poll::Ready(Ok(_)) = poll(pin!(service.oneshot(unread()))) else {
            panic!("answers at once");
        };
        assert_eq!(Span::current().id(), around.id(), "restored");
    }
    let recorded = recorder.0.lock().unwrap();
    assert_eq!(recorded.spans[0].name, "around");
    assert_eq!(recorded.spans[1].parent, Some(0));
}

#[tokio::test]
async fn interleaved_exchanges_keep_their_own_spans() {
    let (recorder, _guard) = Recorder::start();
    let service =
        TraceLayer::new().layer(service_fn(|request: Request<&'static str>| async move {
            for _ in 0..3 {
                tracing::info!("{}", request.body());
                tokio::task::yield_now().await;
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }));
    let exchange = async |name| service.clone().oneshot(Request::new(name)).await;
    let _ = tokio::join!(exchange("a"), exchange("b"));
    for (message, span) in recorder.events() {
        assert_eq!(span, Some(usize::from(message == "b")));
    }
    assert!(recorder.requests().iter().all(|span| span.closed));
}

/// Answers with whether the handler and the body's frame ran in a span named so.
async fn seen_current(layer: TraceLayer) -> Vec<Option<&'static str>> {
    let names = Arc::new(Mutex::new(Vec::new()));
    let seen = names.clone();
    let service = layer.layer(Readied::from_fn(move |_: Request<()>| {
        let name = Span::current().metadata().map(Metadata::name);
        seen.lock().unwrap().push(name);
        ready(Ok::<_, Infallible>(Response::new(
            ScriptedBody::new().data("ab"),
        )))
    }));
    let Ok(response) = service.oneshot(unread()).await;
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "ab");
    std::mem::take(&mut names.lock().unwrap())
}

/// Wants everything but the spans of exchanges.
struct NoRequests;

impl<S: Subscriber> tracing_subscriber::Layer<S> for NoRequests {
    fn enabled(&self, metadata: &Metadata<'_>, _: SpanContext<'_, S>) -> bool {
        metadata.name() != "request"
    }
}

#[tokio::test]
async fn a_span_that_nobody_wants_changes_nothing() {
    assert_eq!(seen_current(TraceLayer::new()).await, [None]);

    let recorder = Recorder::default();
    let subscriber = Registry::default().with(recorder.clone()).with(NoRequests);
    let _guard = tracing::subscriber::set_default(subscriber);
    let around = tracing::info_span!("around");
    let mut exchange = Box::pin(seen_current(TraceLayer::new()));
    let entered = around.enter();
    let Poll::Ready(seen) = poll(exchange.as_mut()) else {
        panic!("answers at once");
    };
    drop(entered);
    assert_eq!(seen, [Some("around")], "the one around shows through");
    assert!(recorder.requests().is_empty());
}

#[tokio::test]
async fn a_subscriber_that_is_gone_by_the_end_does_no_harm() {
    let (recorder, guard) = Recorder::start();
    let service = TraceLayer::new().layer(answering(|| ScriptedBody::new().data("ab")));
    let Ok(response) = service.oneshot(unread()).await;
    drop(guard);
    response.into_body().collect().await.unwrap();
    // The span belongs to the subscriber that made it.
    assert_eq!(recorder.request().get("outcome"), Some("completed"));
    assert!(recorder.request().closed);
}
