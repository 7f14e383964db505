//! Metrics go to the recorder that they were given, or to one that is made for them.

#![cfg(feature = "prometheus")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::sync::Arc;

use http::Request;
use metrics_exporter_prometheus::PrometheusBuilder;
use tower::ServiceExt;
use tower_layer::Layer;
use tower_ops_metrics::{Metrics, Prometheus};
use tower_ops_testing::{Readied, ScriptedBody};

use self::scrape::Scrape;

#[allow(dead_code, reason = "each test takes what it needs of it")]
#[path = "support/scrape.rs"]
mod scrape;

async fn exchange(metrics: &Metrics) {
    let service = metrics
        .layer()
        .layer(Readied::from_fn(|_: Request<()>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(ScriptedBody::new()))
        }));
    assert!(service.oneshot(Request::new(())).await.is_ok());
}

#[tokio::test]
async fn an_explicit_recorder_gets_everything_and_the_process_nothing() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let builder = Metrics::builder().recorder(Arc::new(recorder));
    let metrics = builder.build().unwrap();
    exchange(&metrics).await;
    let scrape = Scrape::of(&handle.render());
    assert_eq!(scrape.total("server_requests_total"), 1.0);
    assert_eq!(
        scrape.total("http_server_request_duration_seconds_count"),
        1.0
    );
    assert_eq!(scrape.value("server_in_flight_requests", &[]), Some(0.0));
    // Nothing was installed on the way: the place is free.
    let free = metrics::set_global_recorder(metrics::NoopRecorder);
    assert!(free.is_ok());
}

#[tokio::test]
async fn two_of_our_own_recorders_do_not_mix() {
    let (first, first_prometheus) = Metrics::builder().build_prometheus().unwrap();
    let (_second, second_prometheus) = Metrics::builder().build_prometheus().unwrap();
    exchange(&first).await;
    let total = |it: &Prometheus| Scrape::of(&it.render()).total("server_requests_total");
    assert_eq!(total(&first_prometheus), 1.0);
    assert_eq!(total(&second_prometheus), 0.0);
}

#[tokio::test]
async fn clones_and_layers_of_one_handle_count_together() {
    let (metrics, prometheus) = Metrics::builder().build_prometheus().unwrap();
    exchange(&metrics).await;
    exchange(&metrics.clone()).await;
    let scrape = Scrape::of(&prometheus.clone().render());
    assert_eq!(scrape.total("server_requests_total"), 2.0);
}

#[tokio::test]
async fn a_handle_of_the_application_renders_its_counters_and_ours() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let prometheus = Prometheus::from_handle(recorder.handle());
    metrics::with_local_recorder(&recorder, || metrics::counter!("orders_total").increment(3));
    let metrics = Metrics::builder()
        .recorder(Arc::new(recorder))
        .build()
        .unwrap();
    exchange(&metrics).await;
    let scrape = Scrape::of(&prometheus.render());
    assert_eq!(scrape.value("orders_total", &[]), Some(3.0));
    assert_eq!(scrape.total("server_requests_total"), 1.0);
    // It is only a handle: there is nothing that could be installed.
    assert!(prometheus.install().is_err());
}
