//! A recorder of the exporter's own, in the two ways it goes wrong and the one it works. One test:
//! a process has one recorder, and keeps it.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use axum::body::Body;
use axum::{Router, routing::get};
use http::Request;
use metrics_exporter_prometheus::PrometheusBuilder;
use tower::ServiceExt;
use tower_ops::Ops;
use tower_ops::metrics::{Metrics, Prometheus};

#[path = "support/log.rs"]
mod log;
use log::Log;

const COUNT: &str = "http_server_request_duration_seconds_bucket";

async fn exchange(ops: &Ops) {
    let app: Router = Router::new()
        .route("/", get(async || ""))
        .layer(ops.layer());
    let request = Request::get("/").body(Body::empty()).unwrap();
    assert_eq!(app.oneshot(request).await.unwrap().status(), 200);
}

/// Answered at once: a scrape waits for nothing.
fn scrape(ops: &Ops) {
    let request = Request::get("/metrics").body(String::new()).unwrap();
    let scrape = ops.operations().oneshot(request);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let Ok(response) = runtime.block_on(scrape);
    assert_eq!(response.status(), 200);
}

#[test]
fn a_recorder_that_loses_metrics_or_buckets_is_warned_of() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let log = Log::default();

    // Built and never installed.
    let loose = PrometheusBuilder::new().build_recorder().handle();
    let ops = Ops::builder("loose").prometheus(Prometheus::from_handle(loose));
    log.of(|| ops.build().unwrap());
    assert!(log.has("WARN", "has not installed"), "{log:?}");

    // One of ours, never installed either: what goes there is what is shown.
    let (_, ours) = Metrics::builder().build_prometheus().unwrap();
    let ops = Ops::builder("ours").prometheus(ours).build().unwrap();
    runtime.block_on(exchange(&ops));
    assert!(ops.prometheus().unwrap().render().contains(COUNT));

    // Installed, without buckets.
    let handle = PrometheusBuilder::new().install_recorder().unwrap();
    let log = Log::default();
    let ops = Ops::builder("bare").prometheus(Prometheus::from_handle(handle));
    let ops = log.of(|| ops.build().unwrap());
    assert!(!log.has("WARN", ""), "{log:?}");
    runtime.block_on(exchange(&ops));
    log.of(|| scrape(&ops));
    assert!(log.has("WARN", "apply_buckets"), "{log:?}");

    // With ours, as the warning says.
    let exporter = Metrics::builder().apply_buckets(PrometheusBuilder::new());
    let recorder = exporter.unwrap().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        metrics::histogram!("http_server_request_duration_seconds").record(0.1);
    });
    assert!(recorder.handle().render().contains(COUNT));
}
