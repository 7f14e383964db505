//! Spans of exchanges and what stands below them, as the collector has them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Mutex;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::{Span as SpanMessage, span::SpanKind, status};
use tower::{Layer, Service, ServiceExt};
use tower_ops_otel::{add_span_attributes, in_span, record_exception};
use tower_ops_trace::{ClientSpans, Inbound, Spans};
use tracing::Instrument;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// A telemetry whose spans are read once it has ended.
struct Fixture {
    collector: Collector,
    telemetry: Telemetry,
    _subscriber: DefaultGuard,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(set: impl FnOnce(TelemetryBuilder) -> TelemetryBuilder) -> Self {
        let collector = Collector::grpc(Behaviour::Take).await;
        let telemetry = set(builder(Protocol::Grpc, &collector.url()))
            .start()
            .unwrap();
        let subscriber = tracing_subscriber::registry().with(telemetry.layer());
        Self {
            collector,
            telemetry,
            _subscriber: subscriber.set_default(),
        }
    }

    fn spans(&self) -> Spans<tower_ops_otel::SpanTracer> {
        Spans::new()
            .with_sampling(self.telemetry.sampling())
            .with_tracer(self.telemetry.tracer())
    }

    async fn end(self) -> Exported {
        self.telemetry.shutdown().await;
        let spans = self.collector.received().spans();
        let counts = self.telemetry.span_counts();
        assert_eq!(counts.exported, spans.len() as u64);
        let spans = spans.into_iter().map(|span| (span.name.clone(), span));
        Exported {
            spans: spans.collect(),
            collector: self.collector,
        }
    }
}

struct Exported {
    spans: BTreeMap<String, SpanMessage>,
    collector: Collector,
}

impl Exported {
    fn span(&self, name: &str) -> &SpanMessage {
        self.spans
            .get(name)
            .unwrap_or_else(|| panic!("no {name:?} in {:?}", self.spans.keys()))
    }

    #[track_caller]
    fn assert_child(&self, child: &str, parent: &str) {
        let (child, parent) = (self.span(child), self.span(parent));
        assert_eq!(
            child.trace_id, parent.trace_id,
            "{} {}",
            child.name, parent.name
        );
        assert_eq!(
            child.parent_span_id, parent.span_id,
            "{} {}",
            child.name, parent.name
        );
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn request(path: &str, traceparent: Option<&str>) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().unwrap();
    if let Some(traceparent) = traceparent {
        request
            .headers_mut()
            .insert("traceparent", traceparent.parse().unwrap());
    }
    request
}

fn code(span: &SpanMessage) -> i32 {
    span.status.as_ref().map_or(0, |status| status.code)
}

async fn answer(fixture: &Fixture, router: Router, request: Request<Body>) -> (StatusCode, String) {
    let response = router
        .layer(fixture.spans().into_layer())
        .oneshot(request)
        .await
        .unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn the_span_of_an_exchange_goes_on_with_the_callers_trace() {
    let fixture = Fixture::new().await;
    let router = Router::new().route("/users/{id}", get(|| async { "hello" }));
    answer(
        &fixture,
        router,
        request("/users/7?token=secret", Some(PARENT)),
    )
    .await;
    let exported = fixture.end().await;
    let span = exported.span("GET /users/{id}");
    assert_eq!(hex(&span.trace_id), &PARENT[3..35]);
    assert_eq!(hex(&span.parent_span_id), &PARENT[36..52]);
    assert_eq!(span.kind(), SpanKind::Server);
    assert_eq!(code(span), status::StatusCode::Unset as i32);
    let attributes: BTreeMap<_, _> = span
        .attributes
        .iter()
        .map(|attribute| {
            (
                attribute.key.as_str(),
                text(&span.attributes, &attribute.key),
            )
        })
        .collect();
    let wanted = [
        ("http.request.method", "GET"),
        ("http.response.status_code", ""),
        ("http.route", "/users/{id}"),
        ("network.protocol.version", "1.1"),
        ("url.path", "/users/7"),
        ("url.scheme", "http"),
    ];
    assert_eq!(attributes, BTreeMap::from(wanted));
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    // The parent is remote, and the trace recorded.
    assert_eq!(span.flags & 0x301, 0x301);
}

#[tokio::test]
async fn what_a_handler_traces_stands_below_its_request() {
    let fixture = Fixture::new().await;
    let handler = || async {
        tracing::info_span!("macro").in_scope(|| ());
        async { tokio::task::yield_now().await }
            .instrument(tracing::info_span!("instrumented"))
            .await;
        tracing::debug_span!("too detailed").in_scope(|| ());
        let spawned = async { tracing::info_span!("in spawned task").in_scope(|| ()) };
        tokio::spawn(spawned.in_current_span()).await.unwrap();
        tracing::info_span!(parent: &tracing::Span::current(), "explicit parent").in_scope(|| ());
        tokio::spawn(async { tracing::info_span!("bare spawn").in_scope(|| ()) })
            .await
            .unwrap();
        add_span_attributes([KeyValue::new("order", "o-1")]);
        "done"
    };
    let router = Router::new().route("/", get(handler));
    answer(&fixture, router, request("/", None)).await;
    let exported = fixture.end().await;
    for child in ["macro", "instrumented", "in spawned task"] {
        exported.assert_child(child, "GET /");
    }
    assert!(!exported.spans.contains_key("too detailed"));
    assert_eq!(text(&exported.span("GET /").attributes, "order"), "o-1");
    // The documented exceptions.
    for root in ["explicit parent", "bare spawn"] {
        assert!(exported.span(root).parent_span_id.is_empty(), "{root}");
    }
}

#[tokio::test]
async fn a_task_of_the_exchange_may_use_opentelemetry_itself() {
    let fixture = Fixture::new().await;
    let provider = fixture.telemetry.tracer_provider().unwrap().clone();
    let handler = async move || {
        let tracer = provider.tracer("mine");
        let spawned = async move { tracer.start("by hand").end() };
        tokio::spawn(spawned.in_current_span()).await.unwrap();
    };
    answer(
        &fixture,
        Router::new().route("/", get(handler)),
        request("/", None),
    )
    .await;
    let exported = fixture.end().await;
    exported.assert_child("by hand", "GET /");
}

#[tokio::test]
async fn a_trace_that_is_not_recorded_costs_no_span_at_all() {
    let fixture = Fixture::new().await;
    let handler = || async {
        tracing::info_span!("below").in_scope(|| ());
        let current = Context::current();
        assert!(!current.span().is_recording());
        current.span().span_context().trace_id().to_string()
    };
    let router = Router::new().route("/", get(handler));
    let (_, trace_id) = answer(&fixture, router, request("/", Some(UNSAMPLED))).await;
    assert_eq!(trace_id, UNSAMPLED[3..35]);
    assert!(fixture.end().await.spans.is_empty());
}

#[tokio::test]
async fn the_ratio_is_asked_where_no_caller_has_decided() {
    let fixture = Fixture::with(|builder| builder.sample_ratio(0.0)).await;
    let router = || Router::new().route("/", get(|| async {}));
    answer(&fixture, router(), request("/", None)).await;
    answer(&fixture, router(), request("/", Some(PARENT))).await;
    // Nor does what is outside of any exchange begin a trace.
    tracing::info_span!("job").in_scope(|| ());
    let exported = fixture.end().await;
    assert_eq!(exported.spans.len(), 1);
    assert_eq!(hex(&exported.span("GET /").trace_id), &PARENT[3..35]);
}

#[tokio::test]
async fn a_stranger_is_linked_to() {
    let fixture = Fixture::new().await;
    let spans = fixture.spans().with_inbound(Inbound::public_endpoint());
    let router = Router::new()
        .route("/", get(|| async {}))
        .layer(spans.into_layer());
    router.oneshot(request("/", Some(PARENT))).await.unwrap();
    let exported = fixture.end().await;
    let span = exported.span("GET /");
    assert_ne!(hex(&span.trace_id), &PARENT[3..35]);
    assert!(span.parent_span_id.is_empty());
    assert_eq!(hex(&span.links[0].trace_id), &PARENT[3..35]);
}

#[tokio::test]
async fn the_status_is_that_of_the_conventions() {
    let fixture = Fixture::new().await;
    let router = Router::new()
        .route(
            "/fails",
            get(|| async { StatusCode::INTERNAL_SERVER_ERROR }),
        )
        .route("/panics", get(panics))
        .route("/waits", get(std::future::pending::<()>));
    for path in ["/fails", "/nowhere"] {
        answer(&fixture, router.clone(), request(path, None)).await;
    }
    let service = router.layer(fixture.spans().into_layer());
    let panics = service.clone().oneshot(request("/panics", None));
    assert!(tokio::spawn(panics).await.unwrap_err().is_panic());
    let waits = service.oneshot(request("/waits", None));
    tokio::time::timeout(Duration::from_millis(10), waits)
        .await
        .unwrap_err();
    let exported = fixture.end().await;
    let error = status::StatusCode::Error as i32;
    for (name, wanted, kind) in [
        ("GET /fails", error, "500"),
        ("GET", 0, ""),
        ("GET /panics", error, "panicked"),
        ("GET /waits", 0, "cancelled_before_head"),
    ] {
        let span = exported.span(name);
        assert_eq!(code(span), wanted, "{name}");
        assert_eq!(text(&span.attributes, "error.type"), kind, "{name}");
    }
}

#[tokio::test]
async fn a_failure_in_trailers_is_one() {
    let fixture = Fixture::new().await;
    let service = tower::service_fn(|_: Request<Body>| async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "14".parse().unwrap());
        let frames = [Ok::<_, Infallible>(http_body::Frame::<Bytes>::trailers(
            trailers,
        ))];
        let body = http_body_util::StreamBody::new(tokio_stream::iter(frames));
        let mut response = Response::new(body);
        response
            .headers_mut()
            .insert("content-type", "application/grpc".parse().unwrap());
        Ok::<_, Infallible>(response)
    });
    let mut request = request("/shop.Orders/Get", None);
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    request
        .headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    let response = fixture
        .spans()
        .into_layer()
        .layer(service)
        .oneshot(request)
        .await
        .unwrap();
    http_body_util::BodyExt::collect(response.into_body())
        .await
        .unwrap();
    let exported = fixture.end().await;
    let span = exported.span("shop.Orders/Get");
    assert_eq!(code(span), status::StatusCode::Error as i32);
    for (key, value) in [
        ("rpc.system.name", "grpc"),
        ("rpc.method", "shop.Orders/Get"),
        ("rpc.response.status_code", "UNAVAILABLE"),
        ("error.type", "UNAVAILABLE"),
    ] {
        assert_eq!(text(&span.attributes, key), value, "{key}");
    }
}

async fn panics() -> StatusCode {
    panic!("as the test wants")
}

/// Answers with the headers that arrived.
#[derive(Clone)]
struct Echo;

impl Service<Request<Body>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = request.headers().clone();
        std::future::ready(Ok(response))
    }
}

#[tokio::test]
async fn an_outgoing_call_is_a_child_of_where_it_is_made() {
    let fixture = Fixture::new().await;
    let client = ClientSpans::new()
        .with_tracer(fixture.telemetry.tracer())
        .into_layer()
        .layer(Echo);
    let handler = async move || {
        let call = async {
            let request = request(
                "http://user:secret@inventory:8080/items/7?token=secret",
                None,
            );
            let response = client.oneshot(request).await.unwrap();
            response.headers()["traceparent"]
                .to_str()
                .unwrap()
                .to_owned()
        };
        call.instrument(tracing::info_span!("look up")).await
    };
    let router = Router::new().route("/", get(handler));
    let mut outer = request("/", Some(PARENT));
    outer
        .headers_mut()
        .insert("tracestate", "vendor=opaque".parse().unwrap());
    let (_, sent) = answer(&fixture, router, outer).await;
    let exported = fixture.end().await;
    exported.assert_child("look up", "GET /");
    exported.assert_child("GET", "look up");
    let client = exported.span("GET");
    assert_eq!(client.kind(), SpanKind::Client);
    assert_eq!(client.trace_state, "vendor=opaque");
    assert_eq!(sent[3..35], PARENT[3..35]);
    assert_eq!(sent[36..52], hex(&client.span_id));
    let url = text(&client.attributes, "url.full");
    assert_eq!(url, "http://inventory:8080/items/7");
    assert_eq!(text(&client.attributes, "server.address"), "inventory");
}

/// Spans wait in a queue: what a client sends must not make them large.
#[tokio::test]
async fn a_path_is_truncated_on_both_sides() {
    let fixture = Fixture::new().await;
    let client = ClientSpans::new()
        .with_tracer(fixture.telemetry.tracer())
        .into_layer()
        .layer(Echo);
    // A proxy: what it sends has the path that came in.
    let proxy = async move |incoming: Request<Body>| {
        let target = format!("http://inventory{}", incoming.uri().path());
        client.oneshot(request(&target, None)).await.unwrap();
    };
    let long = format!("/{}", "a".repeat(60_000));
    let router = Router::new().route("/{*path}", get(proxy));
    answer(&fixture, router, request(&long, None)).await;
    let exported = fixture.end().await;
    let path = text(&exported.span("GET /{*path}").attributes, "url.path");
    assert_eq!(path, &long[..512]);
    let url = text(&exported.span("GET").attributes, "url.full");
    assert_eq!(url, format!("http://inventory{}", &long[..512]));
}

/// A request to a tonic `Channel` has a path only.
#[tokio::test]
async fn a_server_that_only_the_configuration_names_is_in_the_span() {
    let fixture = Fixture::new().await;
    let client = ClientSpans::new()
        .with_tracer(fixture.telemetry.tracer())
        .with_server("inventory:50051".parse().unwrap())
        .into_layer()
        .layer(Echo);
    client.oneshot(request("/items/7", None)).await.unwrap();
    let exported = fixture.end().await;
    let attributes = &exported.span("GET").attributes;
    assert_eq!(text(attributes, "server.address"), "inventory");
    let port = attributes.iter().find(|it| it.key == "server.port");
    let port = port.and_then(|it| it.value.as_ref()?.value.clone());
    assert_eq!(port, Some(any_value::Value::IntValue(50051)));
}

#[tokio::test]
async fn b3_goes_in_and_out() {
    let set = |builder: TelemetryBuilder| builder.set("OTEL_PROPAGATORS", "b3,b3multi,b3");
    let fixture = Fixture::with(set).await;
    let client = ClientSpans::new()
        .with_tracer(fixture.telemetry.tracer())
        .into_layer()
        .layer(Echo);
    let handler = async move || {
        let response = client
            .oneshot(request("http://inventory/", None))
            .await
            .unwrap();
        let headers = response.headers();
        assert!(!headers.contains_key("traceparent"));
        assert_eq!(headers["x-b3-sampled"], "1");
        headers["b3"].to_str().unwrap().to_owned()
    };
    let router = Router::new().route("/", get(handler));
    let mut outer = request("/", Some(UNSAMPLED));
    let headers = outer.headers_mut();
    headers.insert("x-b3-traceid", "a3ce929d0e0e4736".parse().unwrap());
    headers.insert("x-b3-spanid", "00f067aa0ba902b7".parse().unwrap());
    headers.insert("x-b3-sampled", "1".parse().unwrap());
    let (_, sent) = answer(&fixture, router, outer).await;
    let exported = fixture.end().await;
    let (server, client) = (exported.span("GET /"), exported.span("GET"));
    assert_eq!(hex(&server.trace_id), "0000000000000000a3ce929d0e0e4736");
    assert_eq!(hex(&server.parent_span_id), "00f067aa0ba902b7");
    let wanted = format!("{}-{}-1", hex(&client.trace_id), hex(&client.span_id));
    assert_eq!(sent, wanted);
}

#[tokio::test]
async fn without_a_format_nothing_goes_in_or_out() {
    let set = |builder: TelemetryBuilder| builder.set("OTEL_PROPAGATORS", "none");
    let fixture = Fixture::with(set).await;
    let client = ClientSpans::new()
        .with_tracer(fixture.telemetry.tracer())
        .into_layer()
        .layer(Echo);
    let handler = async move || {
        let call = client.oneshot(request("http://inventory/", None));
        let response = call.await.unwrap();
        let names = response.headers().keys().map(ToString::to_string);
        names.collect::<Vec<_>>().join(",")
    };
    let router = Router::new().route("/", get(handler));
    let (_, sent) = answer(&fixture, router, request("/", Some(PARENT))).await;
    assert_eq!(sent, "");
    let exported = fixture.end().await;
    assert_ne!(hex(&exported.span("GET /").trace_id), &PARENT[3..35]);
    exported.assert_child("GET", "GET /");
}

#[tokio::test]
async fn the_baggage_of_a_trusted_caller_goes_on() {
    use opentelemetry::baggage::BaggageExt;
    let fixture = Fixture::new().await;
    let client = ClientSpans::new()
        .with_tracer(fixture.telemetry.tracer())
        .into_layer()
        .layer(Echo);
    let handler = async move || {
        let tenant = Context::current()
            .baggage()
            .get("tenant")
            .map(ToString::to_string);
        let response = client
            .oneshot(request("http://inventory/", None))
            .await
            .unwrap();
        let sent = response.headers().get("baggage").cloned();
        format!("{tenant:?} {sent:?}")
    };
    let router = Router::new().route("/", get(handler));
    let mut trusted = request("/", Some(PARENT));
    trusted
        .headers_mut()
        .insert("baggage", "tenant=blue".parse().unwrap());
    let (_, seen) = answer(&fixture, router.clone(), trusted).await;
    assert_eq!(seen, r#"Some("blue") Some("tenant=blue")"#);

    let mut stranger = request("/", Some(PARENT));
    stranger
        .headers_mut()
        .insert("baggage", "tenant=blue".parse().unwrap());
    let spans = fixture.spans().with_inbound(Inbound::public_endpoint());
    let response = router
        .layer(spans.into_layer())
        .oneshot(stranger)
        .await
        .unwrap();
    let seen = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    assert_eq!(seen, "None None");
    fixture.end().await;
}

#[tokio::test]
async fn disabled_it_propagates_all_the_same() {
    let set =
        |builder: TelemetryBuilder| builder.environment_variables([("OTEL_SDK_DISABLED", "true")]);
    let fixture = Fixture::with(set).await;
    assert!(!fixture.telemetry.exports_spans());
    let client = ClientSpans::new()
        .with_tracer(fixture.telemetry.tracer())
        .into_layer()
        .layer(Echo);
    let handler = async move || {
        let response = client
            .oneshot(request("http://inventory/", None))
            .await
            .unwrap();
        response.headers()["traceparent"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    let router = Router::new().route("/", get(handler));
    let (_, sent) = answer(&fixture, router, request("/", Some(PARENT))).await;
    assert_eq!(sent[..35], PARENT[..35]);
    assert_eq!(sent[52..], PARENT[52..]);
    let exported = fixture.end().await;
    assert!(exported.spans.is_empty());
    assert_eq!(exported.collector.received().attempts, 0);
}

#[tokio::test]
async fn a_subscriber_without_the_layer_leaves_the_context_current() {
    let fixture = Fixture::new().await;
    let _foreign = tracing_subscriber::fmt()
        .with_writer(std::io::sink)
        .finish()
        .set_default();
    let provider = fixture.telemetry.tracer_provider().unwrap().clone();
    let handler = async move || {
        tokio::task::yield_now().await;
        provider.tracer("mine").start("by hand").end();
    };
    answer(
        &fixture,
        Router::new().route("/", get(handler)),
        request("/", None),
    )
    .await;
    fixture.end().await.assert_child("by hand", "GET /");
}

#[tokio::test]
async fn log_records_have_the_ids_of_the_trace() {
    let fixture = Fixture::with(TelemetryBuilder::logs).await;
    let handler = || async {
        tracing::info!(order = "o-1", "sold");
        let error = "seven".parse::<u64>().unwrap_err();
        record_exception(&error);
    };
    answer(
        &fixture,
        Router::new().route("/", get(handler)),
        request("/", None),
    )
    .await;
    let exported = fixture.end().await;
    let span = exported.span("GET /");
    assert!(span.events.is_empty());
    let received = exported.collector.received();
    let scopes = &received.logs[0].resource_logs[0].scope_logs;
    let records: Vec<_> = scopes.iter().flat_map(|scope| &scope.log_records).collect();
    assert_eq!(records.len(), 2);
    for record in &records {
        assert_eq!(record.trace_id, span.trace_id);
        assert_eq!(record.span_id, span.span_id);
    }
    let exception = records
        .iter()
        .find(|record| record.severity_text == "ERROR")
        .unwrap();
    let message = text(&exception.attributes, "exception.message");
    assert_eq!(message, "invalid digit found in string");
    let kind = text(&exception.attributes, "exception.type");
    assert_eq!(kind, "core::num::error::ParseIntError");
}

/// What is logged at the start.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

#[tokio::test]
async fn a_bridge_that_is_missing_or_hidden_is_warned_of_once() {
    let lines = Lines::default();
    macro_rules! log {
        () => {{
            let lines = lines.clone();
            tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .with_writer(move || lines.clone())
        }};
    }
    let telemetry = || {
        builder(Protocol::Grpc, "http://127.0.0.1:1")
            .start()
            .unwrap()
    };
    let registry = tracing_subscriber::registry;

    let right = telemetry();
    let guard = registry().with(right.layer()).with(log!()).set_default();
    right.check();
    assert_eq!(lines.take(), "");
    drop(guard);

    let missing = telemetry();
    let guard = registry().with(log!()).set_default();
    missing.check();
    missing.check();
    let warned = lines.take();
    assert_eq!(
        warned
            .matches("the spans of handlers are not exported")
            .count(),
        1,
        "{warned}"
    );
    drop(guard);

    let hidden = telemetry();
    let (layer, _handle) = tracing_subscriber::reload::Layer::new(hidden.layer());
    let guard = registry().with(layer).with(log!()).set_default();
    hidden.check();
    assert!(lines.take().contains("reload::Layer"));
    drop(guard);

    let quiet = builder(Protocol::Grpc, "http://127.0.0.1:1")
        .environment_variables([
            ("OTEL_LOG_LEVEL", "error"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ])
        .start()
        .unwrap();
    let guard = registry().with(log!()).set_default();
    quiet.check();
    assert_eq!(quiet.warnings().len(), 1);
    assert_eq!(lines.take(), "");
    drop(guard);
}

#[tokio::test]
async fn without_a_start_nothing_happens() {
    let mut headers = HeaderMap::new();
    tower_ops_otel::inject_context(&mut headers);
    assert!(headers.is_empty());
    assert_eq!(in_span("nothing", async { 7 }).await, 7);
    let caller = tower_ops_otel::extract_context(request("/", Some(PARENT)).headers());
    assert!(!caller.has_active_span());
}
