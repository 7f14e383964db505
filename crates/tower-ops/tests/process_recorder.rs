//! The recorder of the process. One test: a process has one, and keeps it.

use axum::body::Body;
use axum::{Router, routing::get};
use http::Request;
use metrics_exporter_prometheus::PrometheusBuilder;
use tower::ServiceExt;
use tower_ops::Ops;

#[path = "support/log.rs"]
mod log;
use log::Log;

#[tokio::test]
async fn every_ops_of_a_process_shares_the_recorder_that_the_first_installed() {
    let log = Log::default();
    let first = log.of(|| Ops::builder("first").build().unwrap());
    // Nothing is lost yet: a newcomer reads no word about recorders.
    assert!(!log.has("", ""), "{log:?}");
    assert!(PrometheusBuilder::new().install_recorder().is_err());
    let second = Ops::builder("second").build().unwrap();
    let other_prefix = Ops::builder("third").metrics(|it| it.prefix("third_"));
    let third = log.of(|| other_prefix.build().unwrap());
    assert!(!log.has("WARN", ""), "{log:?}");
    let buckets = Ops::builder("fourth").metrics(|it| it.duration_buckets([1.0]));
    log.of(|| buckets.build().unwrap());
    assert!(
        log.has("WARN", "buckets of this Ops are ignored"),
        "{log:?}"
    );
    let private = Ops::builder("private").private_recorder().build().unwrap();
    tower_ops::metrics::counter!("orders_total").increment(1);
    for ops in [&first, &second, &third, &private] {
        let app: Router = Router::new()
            .route("/", get(async || ""))
            .layer(ops.layer());
        let request = Request::get("/").body(Body::empty()).unwrap();
        assert_eq!(app.oneshot(request).await.unwrap().status(), 200);
    }
    let count = |line: &&str| line.starts_with("server_requests_total{");
    for ops in [&first, &second, &third] {
        let text = ops.prometheus().unwrap().render();
        let lines = || text.lines();
        assert!(lines().any(|line| line == "orders_total 1"), "{text}");
        let total = lines().find(count).unwrap();
        assert!(total.ends_with(" 2"), "{total}");
        // A histogram whatever the prefix, and not the exporter's default, a summary.
        let buckets = "third_http_server_request_duration_seconds_bucket";
        assert!(lines().any(|line| line.starts_with(buckets)), "{text}");
    }
    let text = private.prometheus().unwrap().render();
    assert!(!text.contains("orders_total"));
    let total = text.lines().find(count).unwrap();
    assert!(total.ends_with(" 1"), "{total}");
}
