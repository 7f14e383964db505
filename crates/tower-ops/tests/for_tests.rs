//! What somebody's own tests rely on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::time::Duration;

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tower_ops::Ops;
use tower_ops::metrics::{counter, set_default_local_recorder};
use tower_ops_testing::RawHttp1;

async fn order() -> &'static str {
    counter!("orders_total").increment(1);
    "an order"
}

/// Twice at once in one process: neither meets the other's port, counters or end.
async fn one_application() {
    let ops = Ops::builder("orders").for_tests().build().unwrap();
    let app = Router::new()
        .route("/orders", get(order))
        .layer(ops.layer());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let recorder = ops.prometheus().unwrap().recorder().unwrap();
    let _counted_here = set_default_local_recorder(&recorder);
    let served = tokio::spawn({
        let ops = ops.clone();
        async move { ops.serve(listener, app).await }
    });
    let mut client = RawHttp1::connect(addr).await.unwrap();
    client
        .send_request("GET", "/orders", &[("connection", "close")], "")
        .await
        .unwrap();
    let head = client.read_head().await.unwrap();
    assert_eq!(client.read_body(&head).await.unwrap().data, "an order");

    ops.lifecycle().shutdown();
    let report = timeout(Duration::from_secs(20), served).await.unwrap();
    let report = report.unwrap().unwrap();
    assert!(report.is_clean(), "{report}");
    let pre_drain = report.pre_drain().unwrap_or_default();
    assert!(pre_drain < Duration::from_secs(5), "the default: {report}");
    let text = ops.prometheus().unwrap().render();
    assert!(text.contains("\norders_total 1\n"), "{text}");
}

#[tokio::test]
async fn an_application_is_tried_alone() {
    one_application().await;
}

#[tokio::test]
async fn and_beside_another_of_the_same_process() {
    one_application().await;
}
