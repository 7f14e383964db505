//! Handlers that read tower-http's id go on reading it.
#![cfg(all(feature = "axum", feature = "tower-http"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use axum::body::Body;
use axum::{Extension, Router, routing::get};
use http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_ops_request_id::RequestIdLayer;

#[tokio::test]
async fn the_extension_of_tower_http_is_there_with_the_same_id() {
    let handler = async |Extension(id): Extension<tower_http::request_id::RequestId>| {
        id.header_value().to_str().unwrap().to_owned()
    };
    let app: Router = Router::new()
        .route("/", get(handler))
        .layer(RequestIdLayer::new());
    let request = Request::get("/")
        .header("x-request-id", "order-7")
        .body(Body::empty())
        .unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "order-7");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "order-7");

    let response = { app.oneshot(Request::get("/").body(Body::empty()).unwrap()) };
    let response = response.await.unwrap();
    let made = response.headers()["x-request-id"].clone();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, made.as_bytes());
}
