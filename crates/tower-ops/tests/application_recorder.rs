//! A recorder that the application installed first. One test: a process has one, and keeps it.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{ServiceBuilder, ServiceExt};
use tower_ops::Ops;
use tower_ops::metrics::{Metrics, Prometheus};
use tower_ops_testing::{Readied, ScriptedBody};

#[path = "support/log.rs"]
mod log;
use log::Log;

async fn exchange(ops: &Ops) {
    let service = ServiceBuilder::new()
        .layer(ops.layer())
        .service(Readied::from_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(Response::new(ScriptedBody::new()))
        }));
    assert!(service.oneshot(Request::new(())).await.is_ok());
}

async fn scrape(ops: &Ops) -> (u16, String) {
    let request = Request::get("/metrics").body(String::new()).unwrap();
    let Ok(response) = ops.operations().oneshot(request).await;
    assert!(response.headers().contains_key("x-tower-ops-version"));
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap();
    (status, String::from_utf8(body.to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn metrics_go_to_the_recorder_of_the_application_and_are_shown_if_it_is_given() {
    // Stands for any recorder that the application built.
    let (_, theirs): (_, Prometheus) = Metrics::builder().build_prometheus().unwrap();
    theirs.install().unwrap();

    let log = Log::default();
    let not_given = log.of(|| Ops::builder("not_given").build().unwrap());
    assert!(log.has("WARN", "Ops::builder(..).prometheus("), "{log:?}");
    exchange(&not_given).await;
    assert!(not_given.prometheus().is_none());
    let (status, text) = scrape(&not_given).await;
    assert_eq!(status, 404);
    assert!(text.contains("Ops::builder(..).prometheus("), "{text}");

    let given = Ops::builder("given").prometheus(theirs).build().unwrap();
    exchange(&given).await;
    let (status, text) = scrape(&given).await;
    assert_eq!(status, 200);
    let mut lines = text.lines();
    let total = lines
        .find(|line| line.starts_with("server_requests_total{"))
        .unwrap();
    assert!(total.ends_with(" 2"), "{total}");
}
