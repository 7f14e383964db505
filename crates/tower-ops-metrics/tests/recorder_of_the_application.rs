//! The process's recorder is the application's. One test: a process has one recorder, and keeps it.

#![cfg(feature = "prometheus")]

use http::{Request, Response};
use metrics_exporter_prometheus::PrometheusBuilder;
use tower::ServiceExt;
use tower_layer::Layer;
use tower_ops_metrics::{Metrics, Prometheus};
use tower_ops_testing::{Readied, ScriptedBody};

use self::scrape::Scrape;

#[allow(dead_code, reason = "each test takes what it needs of it")]
#[path = "support/scrape.rs"]
mod scrape;

#[tokio::test]
async fn metrics_go_to_the_recorder_that_the_application_installed() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let prometheus = Prometheus::from_handle(recorder.handle());
    metrics::set_global_recorder(recorder).expect("the first");

    let metrics = Metrics::builder().build().unwrap();
    let service = metrics
        .layer()
        .layer(Readied::from_fn(|_: Request<()>| async {
            Ok::<_, std::convert::Infallible>(Response::new(ScriptedBody::new()))
        }));
    assert!(service.oneshot(Request::new(())).await.is_ok());
    metrics::counter!("orders_total").increment(3);

    let scrape = Scrape::of(&prometheus.render());
    assert_eq!(scrape.total("server_requests_total"), 1.0);
    assert_eq!(scrape.value("server_in_flight_requests", &[]), Some(0.0));
    assert_eq!(scrape.value("orders_total", &[]), Some(3.0));
}
