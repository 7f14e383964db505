//! The service for `/metrics`.

#![cfg(feature = "prometheus")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_ops_metrics::{Metrics, Prometheus};

async fn ask(prometheus: &Prometheus, method: Method) -> Response<Bytes> {
    let request = Request::builder().method(method).uri("/metrics").body(());
    let Ok(response) = prometheus.service().oneshot(request.unwrap()).await;
    let (parts, body) = response.into_parts();
    let Ok(body) = body.collect().await;
    Response::from_parts(parts, body.to_bytes())
}

fn prometheus() -> Prometheus {
    Metrics::builder().build_prometheus().unwrap().1
}

#[tokio::test]
async fn get_answers_with_the_text_format() {
    let prometheus = prometheus();
    let response = ask(&prometheus, Method::GET).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.headers()["content-type"],
        "text/plain; version=0.0.4"
    );
    assert_eq!(response.headers()["cache-control"], "no-store");
    let text = std::str::from_utf8(response.body()).unwrap();
    assert!(
        text.lines()
            .any(|line| line == "server_in_flight_requests 0"),
        "{text}"
    );
}

#[tokio::test]
async fn head_answers_as_get_does() {
    let prometheus = prometheus();
    let head = ask(&prometheus, Method::HEAD).await;
    let get = ask(&prometheus, Method::GET).await;
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(head.headers(), get.headers());
    assert!(head.body().is_empty());
}

#[tokio::test]
async fn the_length_is_known_beforehand() {
    let Ok(response) = prometheus().service().oneshot(Request::new(())).await;
    assert!(response.body().size_hint().exact().is_some());
}

#[tokio::test]
async fn other_methods_are_refused() {
    let prometheus = prometheus();
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let response = ask(&prometheus, method).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()["allow"], "GET, HEAD, OPTIONS");
        assert_eq!(response.headers()["content-type"], "application/json");
    }
    let response = ask(&prometheus, Method::OPTIONS).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["allow"], "GET, HEAD, OPTIONS");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert!(response.body().is_empty());
}
