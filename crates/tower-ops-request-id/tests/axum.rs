//! The id as an axum extractor.

#![cfg(feature = "axum")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use axum::body::Body;
use axum::routing::get;
use axum::{Extension, Router};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_layer::Layer;
use tower_ops_request_id::{RequestId, RequestIdLayer};

fn app() -> Router {
    Router::new()
        .route("/", get(|id: RequestId| async move { id.to_string() }))
        .route(
            "/option",
            get(|id: Option<RequestId>| async move { format!("{id:?}") }),
        )
        .route(
            "/extension",
            get(|Extension(id): Extension<RequestId>| async move { id.to_string() }),
        )
        .route(
            "/both",
            get(|id: RequestId| async move { (RequestId::current() == Some(id)).to_string() }),
        )
}

fn request(path: &str) -> Request<Body> {
    let request = Request::builder().uri(path).header("x-request-id", "abc");
    request.body(Body::empty()).unwrap()
}

async fn text<B: http_body::Body<Error: std::fmt::Debug>>(response: Response<B>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.into()).unwrap()
}

#[tokio::test]
async fn a_handler_takes_the_id_as_an_argument() {
    let app = app().layer(RequestIdLayer::new().with_extension());
    for (path, expected) in [
        ("/", "abc"),
        ("/option", "Some(RequestId(\"abc\"))"),
        ("/extension", "abc"),
        ("/both", "true"),
    ] {
        let Ok(response) = app.clone().oneshot(request(path)).await;
        assert_eq!(response.headers()["x-request-id"], "abc");
        assert_eq!(text(response).await, expected, "{path}");
    }
}

#[tokio::test]
async fn a_layer_around_the_router_serves_the_extractor_and_its_fallback() {
    let app = RequestIdLayer::new().layer(app());
    let Ok(response) = app.clone().oneshot(request("/")).await;
    assert_eq!(text(response).await, "abc");
    let Ok(response) = app.oneshot(request("/nowhere")).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers()["x-request-id"], "abc");
}

#[tokio::test]
async fn without_the_layer_the_rejection_says_what_is_missing() {
    let Ok(response) = app().oneshot(request("/")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let said = text(response).await;
    assert!(said.contains("RequestIdLayer"), "{said}");
    assert!(!said.contains("abc"), "does not quote the client: {said}");
}

#[tokio::test]
async fn without_the_layer_the_option_is_none() {
    let Ok(response) = app().oneshot(request("/option")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "None");
}
