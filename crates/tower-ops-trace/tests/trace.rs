//! The trace of an exchange: whose it is, whether it is recorded, and who gets to know.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use tokio::time::advance;
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;
use tower_ops_observe::{Ending, Facts, Observe, ObserveLayer, RequestFacts, Route};
use tower_ops_testing::{Readied, ScriptedBody};
use tower_ops_trace::{
    ClientTraceLayer, ErrorType, ExchangeTracer, Inbound, Ratio, RouteRule, Sampling, SpanName,
    SpanStart, SpanStatus, Spans, TraceContext, TraceIds, TraceLayer,
};
use tracing::Span;

#[path = "support/recorder.rs"]
mod recorder;
use recorder::Recorder;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

fn request(path: &str, parent: Option<&str>) -> Request<()> {
    let mut request = Request::get(path);
    if let Some(parent) = parent {
        request = request
            .header("traceparent", parent)
            .header("tracestate", "vendor=1");
    }
    request.body(()).unwrap()
}

fn call(path: &str, parent: Option<&str>) -> Request<()> {
    let mut call = request(path, parent);
    *call.method_mut() = http::Method::POST;
    let grpc = HeaderValue::from_static("application/grpc");
    call.headers_mut().insert("content-type", grpc);
    call
}

/// What the handler finds.
async fn seen<L>(layer: &L, request: Request<()>) -> TraceContext
where
    L: Layer<Readied<Handler>>,
    L::Service: Service<Request<()>, Error = Infallible>,
{
    let found = Arc::new(Mutex::new(None));
    let inner = Readied::new(Handler(found.clone()));
    let Ok(_) = layer.layer(inner).oneshot(request).await;
    found
        .lock()
        .unwrap()
        .take()
        .expect("a context in the handler")
}

#[derive(Clone)]
struct Handler(Arc<Mutex<Option<TraceContext>>>);

impl Service<Request<()>> for Handler {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        *self.0.lock().unwrap() = TraceContext::current();
        std::future::ready(Ok(Response::new(Empty::new())))
    }
}

#[tokio::test]
async fn the_handler_finds_the_callers_trace_and_a_span_of_its_own() {
    let context = seen(&TraceLayer::new(), request("/", Some(SAMPLED))).await;
    assert_eq!(context.ids().trace_id_hex().as_str(), TRACE);
    assert_ne!(context.ids().span_id_hex().as_str(), "00f067aa0ba902b7");
    assert!(context.ids().is_sampled());
    assert_eq!(context.state().unwrap().as_str(), "vendor=1");
    assert_eq!(TraceContext::current(), None, "outside");

    let context = seen(&TraceLayer::new(), request("/", None)).await;
    assert!(context.ids().is_sampled() && context.ids().is_random());
    assert_eq!(context.state(), None);
}

#[tokio::test]
async fn who_is_not_trusted_is_linked_to() {
    let (recorder, _guard) = Recorder::start();
    let layer = Spans::new()
        .with_inbound(Inbound::public_endpoint())
        .into_layer();
    let context = seen(&layer, request("/", Some(UNSAMPLED))).await;
    assert_ne!(context.ids().trace_id_hex().as_str(), TRACE);
    assert!(
        context.ids().is_sampled(),
        "the stranger's flag does not count"
    );
    assert_eq!(context.state(), None);
    assert_eq!(recorder.request().get("linked_trace_id"), Some(TRACE));

    let (recorder, _guard) = Recorder::start();
    let inbound = Inbound::accept_if(|_, headers| headers.contains_key("x-trusted"));
    let layer = Spans::new().with_inbound(inbound).into_layer();
    let mut trusted = request("/", Some(SAMPLED));
    trusted
        .headers_mut()
        .insert("x-trusted", "1".parse().unwrap());
    let context = seen(&layer, trusted).await;
    assert_eq!(context.ids().trace_id_hex().as_str(), TRACE);
    assert_eq!(recorder.request().get("linked_trace_id"), None);
    let context = seen(&layer, request("/", Some(SAMPLED))).await;
    assert_ne!(context.ids().trace_id_hex().as_str(), TRACE);
}

#[tokio::test]
async fn a_route_decides_before_the_caller_and_the_caller_before_the_ratio() {
    let none = Sampling::new().with_ratio(Ratio::NONE);
    let quiet = none.clone().with_route("/quiet", RouteRule::Off);
    let loud = none.clone().with_route("/loud", RouteRule::Always);
    let part = Sampling::new().with_route("/part", RouteRule::Ratio(Ratio::NONE));
    let own = none.clone().without_caller();
    #[rustfmt::skip]
    let cases = [
        (&quiet, "/quiet", Some(SAMPLED), false),
        (&quiet, "/", Some(SAMPLED), true),
        (&loud, "/loud", None, true),
        (&loud, "/loud", Some(UNSAMPLED), true),
        (&part, "/part", None, false),
        (&part, "/other", None, true),
        (&none, "/", None, false),
        (&none, "/", Some(SAMPLED), true),
        (&none, "/", Some(UNSAMPLED), false),
        (&own, "/", Some(SAMPLED), false),
    ];
    for (sampling, path, caller, expected) in cases {
        let layer = Spans::new().with_sampling(sampling.clone()).into_layer();
        let ids = seen(&layer, request(path, caller)).await.ids();
        assert_eq!(ids.is_sampled(), expected, "{sampling:?} {path} {caller:?}");
    }
}

/// Knows the route at the beginning, as axum's `Router::layer` does.
struct Routed(&'static str);

impl Observe for Routed {
    type Exchange = ();

    fn on_request<B>(&self, _: &mut Request<B>, facts: &mut Facts) {
        facts.set_route(Route::from_static(self.0));
    }

    fn on_end(&self, (): &mut (), _: &Ending<'_>, _: &Facts) {}
}

#[tokio::test]
async fn a_rule_holds_for_its_template_and_for_a_grpc_method() {
    let sampling = Sampling::new()
        .with_route("/status/{code}", RouteRule::Off)
        .with_route("pkg.Service/Quiet", RouteRule::Off);
    let spans = || Spans::new().with_sampling(sampling.clone());
    let layer = ObserveLayer::new((Routed("/status/{code}"), spans()));
    assert!(
        !seen(&layer, request("/status/200", None))
            .await
            .ids()
            .is_sampled()
    );

    let layer = spans().into_layer();
    for (path, expected) in [("/pkg.Service/Quiet", false), ("/pkg.Service/Loud", true)] {
        let call = call(path, None);
        assert_eq!(
            seen(&layer, call).await.ids().is_sampled(),
            expected,
            "{path}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_cannot_force_more_than_the_limit() {
    let sampling = Sampling::new().with_ratio(Ratio::NONE).with_forced_limit(2);
    let layer = Spans::new().with_sampling(sampling).into_layer();
    let sampled = async || {
        seen(&layer, request("/", Some(SAMPLED)))
            .await
            .ids()
            .is_sampled()
    };
    let first = [sampled().await, sampled().await, sampled().await];
    assert_eq!(first, [true, true, false]);
    advance(Duration::from_millis(500)).await;
    assert_eq!([sampled().await, sampled().await], [true, false]);

    // What the ratio takes anyway is not forced.
    let sampling = Sampling::new().with_forced_limit(0);
    let layer = Spans::new().with_sampling(sampling).into_layer();
    assert!(
        seen(&layer, request("/", Some(SAMPLED)))
            .await
            .ids()
            .is_sampled()
    );
}

#[tokio::test]
async fn probes_are_recorded_only_if_the_caller_is() {
    let probe = |parent| call("/grpc.health.v1.Health/Check", parent);
    let layer = TraceLayer::new();
    assert!(!seen(&layer, probe(None)).await.ids().is_sampled());
    assert!(seen(&layer, probe(Some(SAMPLED))).await.ids().is_sampled());
    let layer = Spans::new().with_probes().into_layer();
    assert!(seen(&layer, probe(None)).await.ids().is_sampled());
}

#[tokio::test]
async fn a_trace_that_is_not_recorded_has_a_span_unless_told_otherwise() {
    let (recorder, _guard) = Recorder::start();
    seen(&TraceLayer::new(), request("/", Some(UNSAMPLED))).await;
    assert_eq!(recorder.requests().len(), 1);
    let layer = Spans::new().with_sampled_spans_only().into_layer();
    seen(&layer, request("/", Some(UNSAMPLED))).await;
    assert_eq!(recorder.requests().len(), 1);
    seen(&layer, request("/", Some(SAMPLED))).await;
    assert_eq!(recorder.requests().len(), 2);
}

#[tokio::test]
async fn two_layers_around_one_request_are_parent_and_child() {
    let (recorder, _guard) = Recorder::start();
    let found = Arc::new(Mutex::new(None));
    let inner = TraceLayer::new().layer(Readied::new(Handler(found.clone())));
    let Ok(_) = TraceLayer::new()
        .layer(inner)
        .oneshot(request("/", Some(SAMPLED)))
        .await;
    let [outer, inner] = <[_; 2]>::try_from(recorder.requests()).ok().unwrap();
    assert_eq!(outer.get("trace_id"), Some(TRACE));
    assert_eq!(inner.get("trace_id"), Some(TRACE));
    assert_ne!(inner.get("span_id"), outer.get("span_id"));
    assert_eq!(inner.parent, Some(0));
    let context = found.lock().unwrap().take().unwrap();
    assert_eq!(
        inner.get("span_id"),
        Some(context.ids().span_id_hex().as_str())
    );
    assert_eq!(
        context.state().unwrap().as_str(),
        "vendor=1",
        "from the outer one"
    );
}

#[tokio::test]
async fn the_target_and_the_level_are_fixed() {
    let (recorder, _guard) = Recorder::start();
    seen(&TraceLayer::new(), request("/", None)).await;
    assert_eq!(recorder.request().target, tower_ops_trace::SPAN_TARGET);
}

/// Writes down how it is called.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn push(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl ExchangeTracer for Log {
    type Exchange = TraceIds;

    fn extract(&self, headers: &HeaderMap) -> Option<TraceContext> {
        self.push("extract".to_owned());
        TraceContext::extract(headers)
    }

    fn begin<B>(&self, start: &SpanStart<'_>, request: &Request<B>, facts: &Facts) -> TraceIds {
        assert_eq!(facts.trace_ids(), Some(start.ids()));
        let remote = start.is_parent_remote();
        let parent = start.parent().map(|parent| parent.span_id_hex());
        self.push(format!(
            "begin {} {parent:?} {remote}",
            request.uri().path()
        ));
        start.ids()
    }

    fn open(&self, _: &mut TraceIds, make: impl FnOnce() -> Span) -> Span {
        self.push("open".to_owned());
        make()
    }

    fn in_scope<R>(&self, exchange: &mut TraceIds, step: impl FnOnce() -> R) -> R {
        assert_eq!(Span::current().metadata().unwrap().name(), "request");
        assert!(RequestFacts::current_trace_ids().is_some_and(|ids| ids == *exchange));
        self.push("in".to_owned());
        step()
    }

    fn end(&self, _: &mut TraceIds, ending: &Ending<'_>, facts: &Facts, status: SpanStatus) {
        let name = SpanName::incoming(facts);
        let outcome = ending.outcome();
        let error = status.error_type();
        let error = error.as_ref().map(ErrorType::as_str);
        self.push(format!(
            "end {name} {outcome} {} {error:?}",
            status.is_error()
        ));
    }
}

#[tokio::test]
async fn a_tracer_is_called_once_for_each_exchange_and_around_every_poll() {
    let (_recorder, _guard) = Recorder::start();
    let log = Log::default();
    let spans = Spans::new().with_tracer(Some(Arc::new(log.clone())));
    let layer = ObserveLayer::new((Routed("/users/{id}"), spans));
    let service = layer.layer(Readied::from_fn(async |_: Request<()>| {
        let body = ScriptedBody::new().data("ab").error("broken");
        Ok::<_, Infallible>(Response::new(body))
    }));
    let Ok(response) = service
        .clone()
        .oneshot(request("/users/7", Some(SAMPLED)))
        .await;
    assert!(response.into_body().collect().await.is_err());
    let begin = "begin /users/7 Some(00f067aa0ba902b7) true";
    let end = "end GET /users/{id} body_failed true Some(\"body_error\")";
    let expected = ["extract", begin, "open", "in", "in", "in", "in", end];
    assert_eq!(log.take(), expected, "call, future, two frames");

    let waiting = service_fn(|_: Request<()>| async {
        pending::<Result<Response<Full<Bytes>>, Infallible>>().await
    });
    let mut exchange = Box::pin(layer.layer(waiting).oneshot(request("/", None)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(exchange.as_mut().poll(&mut cx).is_pending());
    log.take();
    drop(exchange);
    let end = "end GET /users/{id} cancelled_before_head false Some(\"cancelled\")";
    assert_eq!(log.take(), ["in", end], "the drop is within, too");
}

/// Says that the handler is in a span of its own.
struct Within;

impl ExchangeTracer for Within {
    type Exchange = ();

    fn current(&self) -> Option<TraceContext> {
        let ids = TraceIds::new(7, 8, TraceIds::SAMPLED)?;
        Some(TraceContext::new(ids, None))
    }

    fn begin<B>(&self, start: &SpanStart<'_>, _: &Request<B>, _: &Facts) {
        assert_eq!(start.parent().map(TraceIds::span_id), Some(8));
    }

    fn end(&self, (): &mut (), _: &Ending<'_>, _: &Facts, _: SpanStatus) {}
}

#[tokio::test]
async fn a_tracer_can_know_of_a_span_within_the_handler() {
    use tower_ops_trace::ClientSpans;
    let inner = Readied::from_fn(async |request: Request<()>| {
        let context = TraceContext::extract(request.headers()).unwrap();
        assert_eq!(context.ids().trace_id(), 7);
        assert_eq!(context.state(), None);
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let client = ClientSpans::new()
        .with_tracer(Within)
        .into_layer()
        .layer(inner);
    let Ok(_) = client.oneshot(request("/", Some(SAMPLED))).await;
}

#[tokio::test]
async fn a_service_in_the_same_process_is_a_child_of_the_client() {
    let (recorder, _guard) = Recorder::start();
    let callee = TraceLayer::new().layer(Readied::new(Handler(Arc::default())));
    let client = ClientTraceLayer::new().layer(callee);
    let service = TraceLayer::new().layer(Readied::from_fn(move |_: Request<()>| {
        client.clone().oneshot(Request::new(()))
    }));
    let Ok(_) = service.oneshot(request("/", Some(SAMPLED))).await;
    let spans = recorder.0.lock().unwrap().spans.clone();
    let names: Vec<_> = spans.iter().map(|span| (span.name, span.parent)).collect();
    assert_eq!(
        names,
        [
            ("request", None),
            ("outgoing_request", Some(0)),
            ("request", Some(1))
        ]
    );
    for span in spans {
        assert_eq!(span.get("trace_id"), Some(TRACE));
    }
}
