//! The bundle with OpenTelemetry, and a collector that takes spans over HTTP.
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tower_ops::lifecycle::ShutdownReport;
use tower_ops::otel::Telemetry;
use tower_ops::trace::RouteRule;
use tower_ops::{Ops, OpsBuilder};
use tower_ops_testing::RawHttp1;
use tracing_subscriber::layer::SubscriberExt;

const LONG: Duration = Duration::from_secs(20);
const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const CALLER: u64 = 0x00f0_67aa_0ba9_02b7;

type Spans = Arc<Mutex<Vec<Span>>>;

/// A collector, and what has arrived there.
async fn collector() -> (SocketAddr, Spans) {
    let spans = Spans::default();
    let taken = Arc::clone(&spans);
    let take = async move |body: Bytes| {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let resources = request.resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        let new = scopes.flat_map(|scope| scope.spans);
        taken.lock().unwrap().extend(new);
        ([("content-type", "application/x-protobuf")], "")
    };
    let app = Router::new().route("/v1/traces", post(take));
    (serve(app).await, spans)
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// It exports at its end and not before.
fn telemetry(collector: SocketAddr) -> Telemetry {
    Telemetry::builder("orders", "1.4.2")
        .environment_variables([("OTEL_SEMCONV_STABILITY_OPT_IN", "")])
        .without_globals()
        .endpoint(format!("http://{collector}"))
        .set("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        .shutdown_timeout(Duration::from_secs(3))
        .start()
        .unwrap()
}

fn orders(telemetry: Telemetry) -> OpsBuilder {
    Ops::builder("orders").telemetry(telemetry).for_tests()
}

async fn order() -> &'static str {
    tracing::info_span!("look up").in_scope(|| "an order")
}

/// Serves, asks for each path once as a part of a trace that is recorded, and stops.
async fn live(ops: &Ops, paths: &[&str]) -> ShutdownReport {
    let app = Router::new()
        .route("/orders/{id}", get(order))
        .route("/ping", get(async || "pong"))
        .layer(ops.layer());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let act = async {
        for path in paths {
            let mut client = RawHttp1::connect(addr).await.unwrap();
            let traceparent = format!("00-{TRACE:032x}-{CALLER:016x}-01");
            let headers = [("x-request-id", "it"), ("traceparent", &*traceparent)];
            client
                .send_request("GET", path, &headers, "")
                .await
                .unwrap();
            let head = client.read_head().await.unwrap();
            assert_eq!(head.status, 200);
            client.read_body(&head).await.unwrap();
        }
        let tracker = ops.requests().unwrap();
        tracker.wait_idle().await;
        ops.lifecycle().shutdown();
    };
    let served = async { tokio::join!(ops.serve(listener, app), act).0 };
    timeout(LONG, served).await.expect("an end").unwrap()
}

/// The value of a series without labels.
fn count(ops: &Ops, series: &str) -> Option<u64> {
    let text = ops.prometheus().unwrap().render();
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map(|value| value.trim().parse().unwrap())
}

#[tokio::test]
async fn what_waits_is_sent_after_all_other_hooks() {
    let (collector, spans) = collector().await;
    let telemetry = telemetry(collector);
    let subscriber = tracing_subscriber::registry().with(telemetry.layer());
    let _default = tracing::subscriber::set_default(subscriber);
    let ops = orders(telemetry).build().unwrap();
    assert_eq!(count(&ops, "tower_ops_spans_exported_total"), Some(0));

    let (seen, at_hook) = (Arc::clone(&spans), Arc::new(Mutex::new(None)));
    let noted = Arc::clone(&at_hook);
    ops.lifecycle().on_stop("cache", async move || {
        *noted.lock().unwrap() = Some(seen.lock().unwrap().len());
        tracing::info_span!("write the cache").in_scope(|| ());
    });
    let report = live(&ops, &["/orders/7"]).await;
    assert_eq!(*at_hook.lock().unwrap(), Some(0), "{report}");

    let spans = spans.lock().unwrap();
    let find = |name: &str| {
        let found = spans.iter().find(|span| span.name == name);
        found.unwrap_or_else(|| panic!("{name} is not among {spans:?}"))
    };
    let server = find("GET /orders/{id}");
    assert_eq!(server.kind, SpanKind::Server as i32);
    assert_eq!(server.trace_id, TRACE.to_be_bytes());
    assert_eq!(server.parent_span_id, CALLER.to_be_bytes());
    let child = find("look up");
    assert_eq!(child.trace_id, server.trace_id);
    assert_eq!(child.parent_span_id, server.span_id);
    // It was made by a hook.
    find("write the cache");
    assert_eq!(count(&ops, "tower_ops_spans_exported_total"), Some(3));

    let history = ops.requests().unwrap().history();
    let ids = history[0].trace_ids.unwrap();
    assert_eq!(ids.trace_id(), TRACE);
    assert_eq!(ids.span_id().to_be_bytes()[..], server.span_id);
}

#[tokio::test]
async fn a_route_can_be_left_out() {
    let (collector, spans) = collector().await;
    let telemetry = telemetry(collector);
    let sampling = telemetry.sampling().with_route("/ping", RouteRule::Off);
    let ops = orders(telemetry).trace(|spans| spans.with_sampling(sampling));
    let ops = ops.build().unwrap();
    live(&ops, &["/ping", "/orders/7"]).await;
    let spans = spans.lock().unwrap();
    let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
    assert_eq!(names, ["GET /orders/{id}"]);
    assert_eq!(ops.requests().unwrap().history().len(), 2);
}

#[tokio::test]
async fn a_collector_that_hangs_does_not_keep_the_process() {
    let app = Router::new().route("/v1/traces", post(async || pending::<()>().await));
    let telemetry = Telemetry::builder("orders", "1.4.2")
        .environment_variables([("OTEL_SEMCONV_STABILITY_OPT_IN", "")])
        .without_globals()
        .endpoint(format!("http://{}", serve(app).await))
        .shutdown_timeout(Duration::from_millis(200))
        .start()
        .unwrap();
    let ops = orders(telemetry.clone()).build().unwrap();
    live(&ops, &["/orders/7"]).await;
    let counts = telemetry.span_counts();
    assert_eq!((counts.exported, counts.dropped()), (0, 1));
}

#[tokio::test]
async fn without_an_exporter_the_trace_goes_on() {
    let telemetry = Telemetry::builder("orders", "1.4.2")
        .environment_variables([("OTEL_SDK_DISABLED", "true")])
        .without_globals()
        .start()
        .unwrap();
    let ops = orders(telemetry).build().unwrap();
    live(&ops, &["/orders/7"]).await;
    let history = ops.requests().unwrap().history();
    assert_eq!(history[0].trace_ids.unwrap().trace_id(), TRACE);
}
