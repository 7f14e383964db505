//! The access log: one event for every exchange, with what became of it.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;
use tower_ops_observe::{Class, Facts, Observe, ObserveLayer, Outcome, RouteHook};
use tower_ops_request_id::RequestIds;
use tower_ops_testing::{Readied, ScriptedBody};
use tower_ops_trace::{AccessLog, Ratio, RouteRule, Spans, TraceLayer};
use tracing::Level;

#[path = "support/recorder.rs"]
mod recorder;
use recorder::{EventRecord, Recorder};

fn logged() -> TraceLayer {
    Spans::new().with_access_log(AccessLog::new()).into_layer()
}

fn with(log: AccessLog) -> TraceLayer {
    Spans::new().with_access_log(log).into_layer()
}

fn get(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

fn only(recorder: &Recorder) -> EventRecord {
    let [event] = <[_; 1]>::try_from(recorder.access()).ok().unwrap();
    recorder.events();
    event
}

/// Serves one request with this response to its end, and returns what was logged.
async fn log_of<B: Body<Data = Bytes> + Clone>(
    layer: &TraceLayer,
    response: &Response<B>,
) -> Vec<EventRecord>
where
    B::Error: 'static,
{
    log_of_request(layer, get("/users/7?token=secret"), response).await
}

async fn log_of_request<B: Body<Data = Bytes> + Clone>(
    layer: &TraceLayer,
    request: Request<()>,
    response: &Response<B>,
) -> Vec<EventRecord>
where
    B::Error: 'static,
{
    let (recorder, _guard) = Recorder::start();
    let service = layer.layer(Readied::from_fn(|_: Request<()>| {
        ready(Ok::<_, Infallible>(response.clone()))
    }));
    let Ok(response) = service.oneshot(request).await;
    let _ = response.into_body().collect().await;
    recorder.access()
}

fn answer(status: u16) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status);
    response.body("eleven byte".into()).unwrap()
}

/// As the bundle's observer of connections does.
struct Peer;

impl Observe for Peer {
    type Exchange = ();

    fn on_request<B>(&self, _: &mut Request<B>, facts: &mut Facts) {
        facts.set_peer(([192, 0, 2, 7], 4711).into());
    }

    fn on_end(&self, (): &mut (), _: &tower_ops_observe::Ending<'_>, _: &Facts) {}
}

#[tokio::test]
async fn an_event_has_what_the_exchange_was() {
    let (recorder, _guard) = Recorder::start();
    let spans = Spans::new().with_access_log(AccessLog::new());
    let layer = ObserveLayer::new((Peer, RequestIds::new(), spans));
    let inner = Readied::from_fn(|_: Request<()>| ready(Ok::<_, Infallible>(answer(201))));
    let service = layer.layer(RouteHook::named("/users/{id}").layer(inner));
    let mut request = get("/users/7?token=secret");
    for (name, value) in [
        ("x-request-id", "order-7"),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("user-agent", "secret"),
    ] {
        let value = HeaderValue::from_static(value);
        request.headers_mut().insert(name, value);
    }
    let Ok(response) = service.oneshot(request).await;
    assert!(recorder.access().is_empty(), "not before the end");
    let Ok(_) = response.into_body().collect().await;

    let span = recorder.request();
    let event = only(&recorder);
    assert_eq!(event.level, Level::INFO);
    assert_eq!(event.span, None, "its fields are its own");
    let fields = [
        ("method", "GET"),
        ("route", "/users/{id}"),
        ("status", "201"),
        ("outcome", "completed"),
        ("bytes_out", "11"),
        ("peer", "192.0.2.7:4711"),
        ("request_id", "order-7"),
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("trace_flags", "01"),
        ("span_id", span.get("span_id").unwrap()),
    ];
    for (name, value) in fields {
        assert_eq!(event.get(name), Some(value), "{name}");
    }
    for name in ["duration_ms", "ttfb_ms"] {
        let text = event.get(name).unwrap();
        assert!(text.parse::<f64>().unwrap() >= 0.0);
        let (_, fraction) = text.split_once('.').unwrap_or_default();
        assert!(fraction.len() <= 3, "whole microseconds: {text}");
    }
    for name in ["path", "user_agent", "headers", "grpc", "bytes_in"] {
        assert_eq!(event.get(name), None, "{name}");
    }
    assert!(!format!("{event:?}").contains("secret"));
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn every_ending_is_logged_once_and_at_its_level() {
    #[rustfmt::skip]
    let cases = [
        (Response::new(ScriptedBody::new().data("ab")), Outcome::Completed, Level::INFO),
        (Response::new(ScriptedBody::new().data("ab").error("broken")), Outcome::BodyFailed, Level::ERROR),
    ];
    for (response, outcome, level) in cases {
        let (recorder, _guard) = Recorder::start();
        let response = std::sync::Mutex::new(Some(response));
        let service = logged().layer(Readied::from_fn(|_: Request<()>| {
            ready(Ok::<_, Infallible>(
                response.lock().unwrap().take().unwrap(),
            ))
        }));
        let Ok(response) = service.oneshot(get("/")).await;
        let _ = response.into_body().collect().await;
        let event = only(&recorder);
        assert_eq!(event.get("outcome"), Some(outcome.as_str()));
        assert_eq!(event.level, level, "{outcome}");
    }
    for (status, level) in [
        (200, Level::INFO),
        (304, Level::INFO),
        (404, Level::INFO),
        (500, Level::ERROR),
        (504, Level::ERROR),
    ] {
        let events = log_of(&logged(), &answer(status)).await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].level, level, "{status}");
    }
}

#[tokio::test]
async fn who_leaves_is_logged_once() {
    let (recorder, _guard) = Recorder::start();
    let waiting =
        service_fn(|_: Request<()>| pending::<Result<Response<Empty<Bytes>>, Infallible>>());
    let mut exchange = Box::pin(logged().layer(waiting).oneshot(get("/")));
    assert!(poll(exchange.as_mut()).is_pending());
    drop(exchange);
    let event = only(&recorder);
    assert_eq!(event.get("outcome"), Some("cancelled_before_head"));
    assert_eq!((event.get("status"), event.level), (None, Level::WARN));

    let streaming = Readied::from_fn(|_: Request<()>| {
        let body = ScriptedBody::new().data("ab").stalled();
        ready(Ok::<_, Infallible>(Response::new(body)))
    });
    let Ok(mut response) = logged().layer(streaming).oneshot(get("/")).await;
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    let event = only(&recorder);
    assert_eq!(event.get("outcome"), Some("cancelled_during_body"));
    assert_eq!(event.get("bytes_out"), Some("2"));
    assert_eq!(
        (event.get("status"), event.level),
        (Some("200"), Level::WARN)
    );
}

#[test]
fn a_panic_is_logged_once() {
    let (recorder, _guard) = Recorder::start();
    let service = logged().layer(service_fn(|request: Request<()>| async move {
        assert_ne!(request.uri().path(), "/", "in the handler");
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    let mut exchange = Box::pin(service.oneshot(get("/")));
    let unwound = catch_unwind(AssertUnwindSafe(|| poll(exchange.as_mut()).is_ready()));
    assert!(unwound.is_err());
    drop(exchange);
    let event = only(&recorder);
    assert_eq!(event.get("outcome"), Some("panicked"));
    assert_eq!(event.level, Level::ERROR);
}

fn grpc(path: &str, status: &'static str) -> (Request<()>, Response<Trailing>) {
    let mut request = Request::post(path).body(()).unwrap();
    let mut response = Response::new(Trailing(Some(status)));
    let grpc = HeaderValue::from_static("application/grpc");
    request.headers_mut().insert("content-type", grpc.clone());
    response.headers_mut().insert("content-type", grpc);
    (request, response)
}

/// Nothing but trailers.
#[derive(Clone)]
struct Trailing(Option<&'static str>);

impl Body for Trailing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|status| {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static(status));
            Ok(http_body::Frame::trailers(trailers))
        }))
    }
}

#[tokio::test]
async fn a_grpc_failure_in_the_trailers_is_one() {
    for (status, code, level) in [
        ("0", "OK", Level::INFO),
        ("5", "NOT_FOUND", Level::INFO),
        ("13", "INTERNAL", Level::ERROR),
        ("4", "DEADLINE_EXCEEDED", Level::ERROR),
    ] {
        let (request, response) = grpc("/pkg.Service/Method", status);
        let events = log_of_request(&logged(), request, &response).await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].get("grpc"), Some(code));
        assert_eq!(events[0].get("status"), Some("200"));
        assert_eq!(events[0].get("route"), Some("pkg.Service/Method"));
        assert_eq!(events[0].level, level, "{code}");
    }
}

#[tokio::test]
async fn probes_are_left_out_unless_asked_for() {
    let (request, response) = grpc("/grpc.health.v1.Health/Check", "0");
    assert!(
        log_of_request(&logged(), request, &response)
            .await
            .is_empty()
    );
    let asked = Spans::new().with_access_log(AccessLog::new()).with_probes();
    let (request, _) = grpc("/grpc.health.v1.Health/Check", "0");
    let events = log_of_request(&asked.into_layer(), request, &response).await;
    assert_eq!(events.len(), 1);
}

#[tokio::test]
async fn a_ratio_leaves_out_successes_alone() {
    let none = with(AccessLog::new().with_ratio(Ratio::NONE));
    assert!(log_of(&none, &answer(200)).await.is_empty());
    for status in [404, 500, 504] {
        assert_eq!(log_of(&none, &answer(status)).await.len(), 1, "{status}");
    }
    let (recorder, _guard) = Recorder::start();
    let waiting =
        service_fn(|_: Request<()>| pending::<Result<Response<Empty<Bytes>>, Infallible>>());
    let mut exchange = Box::pin(none.layer(waiting).oneshot(get("/")));
    assert!(poll(exchange.as_mut()).is_pending());
    drop(exchange);
    assert_eq!(
        only(&recorder).get("outcome"),
        Some("cancelled_before_head")
    );

    let half = with(AccessLog::new().with_ratio(Ratio::new(0.5).unwrap()));
    let mut logged = 0;
    for _ in 0..200 {
        logged += log_of(&half, &answer(200)).await.len();
    }
    assert!((50..150).contains(&logged), "{logged}");
}

#[tokio::test]
async fn a_route_can_be_turned_off_or_thinned_out() {
    let log = AccessLog::new()
        .with_ratio(Ratio::NONE)
        .with_route("/off", RouteRule::Off)
        .with_route("/part", RouteRule::Ratio(Ratio::NONE))
        .with_route("/all", RouteRule::Always);
    let events = async |route: &'static str, status: u16| {
        let (recorder, _guard) = Recorder::start();
        let inner = Readied::from_fn(|_: Request<()>| ready(Ok::<_, Infallible>(answer(status))));
        let service = with(log.clone()).layer(RouteHook::named(route).layer(inner));
        let Ok(response) = service.oneshot(get("/")).await;
        let Ok(_) = response.into_body().collect().await;
        recorder.access().len()
    };
    assert_eq!(
        (events("/off", 200).await, events("/off", 500).await),
        (0, 0)
    );
    assert_eq!(
        (events("/part", 200).await, events("/part", 500).await),
        (0, 1)
    );
    assert_eq!(
        (events("/all", 200).await, events("/other", 200).await),
        (1, 0)
    );
}

#[tokio::test]
async fn a_level_can_be_another() {
    let log = AccessLog::new()
        .with_level(Class::Success, Level::DEBUG)
        .with_level(Class::ClientError, Level::TRACE);
    let level = async |status| log_of(&with(log.clone()), &answer(status)).await[0].level;
    assert_eq!(level(200).await, Level::DEBUG);
    assert_eq!(level(404).await, Level::TRACE);
    assert_eq!(level(503).await, Level::ERROR);
}

#[tokio::test]
async fn what_a_client_sends_is_there_only_if_asked_for_and_cut() {
    let tenant = "x-tenant".parse().unwrap();
    let log = AccessLog::new()
        .with_path()
        .with_user_agent()
        .with_header(tenant)
        .with_header(http::header::AUTHORIZATION)
        .with_header("x-marked".parse().unwrap());
    let mut request = get("/users/7?token=query");
    let mut marked = HeaderValue::from_static("hidden");
    marked.set_sensitive(true);
    let headers = request.headers_mut();
    headers.insert("x-tenant", HeaderValue::from_bytes(b"a\"b\xff").unwrap());
    headers.append("x-tenant", HeaderValue::from_static("two"));
    headers.insert("authorization", HeaderValue::from_static("hidden"));
    headers.insert("x-marked", marked);
    headers.insert("cookie", HeaderValue::from_static("hidden"));
    let agent = HeaderValue::from_str(&"a".repeat(1 << 20)).unwrap();
    headers.insert("user-agent", agent);
    let events = log_of_request(&with(log.clone()), request, &answer(200)).await;
    assert_eq!(events[0].get("path"), Some("/users/7"));
    assert_eq!(events[0].get("user_agent").map(str::len), Some(512));
    let expected = "x-tenant=\"a\\\"b\u{fffd}\" x-tenant=\"two\" \
                    authorization=[redacted] x-marked=[redacted]";
    assert_eq!(events[0].get("headers"), Some(expected));
    let text = format!("{:?}", events[0]);
    assert!(
        !text.contains("hidden") && !text.contains("query"),
        "{text}"
    );

    let long = get(&format!("/{}", "é".repeat(9_000).replace('é', "%C3%A9")));
    let events = log_of_request(&with(log), long, &answer(200)).await;
    assert_eq!(events[0].get("path").map(str::len), Some(512));
    assert_eq!(events[0].get("headers"), None);
}

#[tokio::test]
async fn a_request_that_passes_two_layers_is_logged_once() {
    let (recorder, _guard) = Recorder::start();
    let answering = Readied::from_fn(|_: Request<()>| ready(Ok::<_, Infallible>(answer(200))));
    let service = logged().layer(logged().layer(answering));
    let Ok(response) = service.oneshot(get("/")).await;
    let Ok(_) = response.into_body().collect().await;
    assert_eq!(
        only(&recorder).get("span_id"),
        recorder.requests()[0].get("span_id")
    );
}

#[tokio::test]
async fn an_event_that_nobody_wants_is_not_made() {
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::layer::SubscriberExt;
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry()
        .with(recorder.clone())
        .with(LevelFilter::WARN);
    let _guard = tracing::subscriber::set_default(subscriber);
    for status in [StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR] {
        let inner = Readied::from_fn(move |_: Request<()>| {
            ready(Ok::<_, Infallible>(answer(status.as_u16())))
        });
        let Ok(response) = logged().layer(inner).oneshot(get("/")).await;
        let Ok(_) = response.into_body().collect().await;
    }
    assert_eq!(only(&recorder).get("status"), Some("500"));
    assert!(recorder.requests().is_empty());
}
