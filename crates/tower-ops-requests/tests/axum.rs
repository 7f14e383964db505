//! The tracker in axum: the extractor, and the routes.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, StatusCode};
use tower::ServiceExt;
use tower_ops_requests::{RequestHandle, RequestTracker};

async fn pay(handle: RequestHandle) -> &'static str {
    handle.annotate("tenant", 7);
    handle.fail("no money");
    "paid"
}

fn request(path: &str) -> Request<Body> {
    let request = Request::builder().uri(path).body(Body::empty());
    request.expect("a path")
}

#[tokio::test]
async fn a_handler_extracts_its_own_exchange() {
    let tracker = RequestTracker::new();
    let app: Router = Router::new()
        .route("/pay/{id}", get(pay))
        .layer(tracker.layer());
    let response = app.oneshot(request("/pay/7")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    axum::body::to_bytes(response.into_body(), 100)
        .await
        .unwrap();
    let ended = serde_json::to_value(&tracker.history()[0]).unwrap();
    assert_eq!(ended["route"], "/pay/{id}");
    assert_eq!(ended["path"], "/pay/7");
    assert_eq!(ended["outcome"], "failed");
    assert_eq!(ended["reason"], "no money");
    assert_eq!(ended["status"], 200);
    assert_eq!(ended["metadata"]["tenant"], "7");
}

#[tokio::test]
async fn the_path_is_whole_also_on_a_nested_router() {
    let tracker = RequestTracker::new();
    let inner = Router::new()
        .route("/users/{id}", get(async || "a user"))
        .layer(tracker.layer());
    let service = Router::new()
        .route("/users/{id}", get(async || "a user"))
        .layer(tracker.layer());
    let app: Router = Router::new()
        .nest("/nested", Router::new().nest("/twice", inner))
        .nest_service("/service", service);
    for path in ["/nested/twice/users/7", "/service/users/7"] {
        let response = app.clone().oneshot(request(path)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        drop(response);
        let ended = &tracker.history()[0];
        assert_eq!(ended.path.as_deref(), Some(path));
    }
}

#[tokio::test]
async fn without_the_layer_the_answer_names_what_is_missing() {
    let app: Router = Router::new().route("/pay/{id}", get(pay));
    let response = app.oneshot(request("/pay/7")).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let body = axum::body::to_bytes(response.into_body(), 1_000)
        .await
        .unwrap();
    assert!(body.starts_with(b"no request tracker: add tracker.layer()"));
}

#[tokio::test]
async fn who_can_do_without_extracts_an_option() {
    async fn optional(handle: Option<RequestHandle>) -> &'static str {
        if handle.is_some() {
            "tracked"
        } else {
            "not tracked"
        }
    }
    let app: Router = Router::new().route("/", get(optional));
    let response = app.oneshot(request("/")).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), 100)
        .await
        .unwrap();
    assert_eq!(body, "not tracked");
}
