//! The same services inside axum, and on a hyper connection, read as bytes.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests are tests, which clippy.toml exempts"
)]

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use axum::routing::get;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;
use tower_ops_health::{Health, Probe};

async fn ask(router: &Router, path: &str) -> Response<Body> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let Ok(response) = router.clone().oneshot(request).await;
    response
}

#[tokio::test]
async fn on_axum_routes() {
    let health = Health::new();
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route_service(Probe::Liveness.path(), health.liveness())
        .route_service(Probe::Readiness.path(), health.readiness())
        .route_service("/custom", health.startup());

    assert_eq!(ask(&router, "/health").await.status(), StatusCode::OK);
    for path in ["/ready", "/custom"] {
        let status = ask(&router, path).await.status();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }
    health.mark_ready();
    for path in ["/ready", "/custom", "/"] {
        assert_eq!(ask(&router, path).await.status(), StatusCode::OK);
    }

    let post = Request::post("/ready").body(Body::from("x")).unwrap();
    let Ok(response) = router.oneshot(post).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()["allow"], "GET, HEAD, OPTIONS");
}

#[tokio::test]
async fn under_an_axum_prefix_and_as_fallback() {
    let health = Health::new();
    let nested = Router::new().nest_service("/ops", health.probes());
    let fallback = Router::new().fallback_service(health.probes());
    for (router, prefix) in [(nested, "/ops"), (fallback, "")] {
        for (path, code) in [
            ("/health", StatusCode::OK),
            ("/ready", StatusCode::SERVICE_UNAVAILABLE),
            ("/startup", StatusCode::SERVICE_UNAVAILABLE),
            ("/other", StatusCode::NOT_FOUND),
        ] {
            let response = ask(&router, &format!("{prefix}{path}")).await;
            assert_eq!(response.status(), code, "{prefix}{path}");
        }
    }
}

/// Sends `requests` on one HTTP/1 connection and returns everything that comes back, without the
/// `date` lines.
async fn over_hyper(health: &Health, requests: &str) -> String {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let service = TowerToHyperService::new(health.probes());
    let serving = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(server), service);
    let asking = async move {
        client.write_all(requests.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        answers
    };
    let (served, answers) = tokio::join!(serving, asking);
    served.unwrap();
    let lines = answers.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("date:")).collect()
}

#[tokio::test]
async fn on_a_hyper_connection() {
    let health = Health::new();
    health.mark_started();
    let requests = "HEAD /ready HTTP/1.1\r\nhost: a\r\n\r\n\
                    POST /ready HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody\
                    GET /startup HTTP/1.1\r\nhost: a\r\naccept: text/plain\r\n\r\n";
    let expected = "HTTP/1.1 503 Service Unavailable\r\n\
                    content-type: application/json\r\n\
                    content-length: 18\r\n\
                    x-content-type-options: nosniff\r\n\
                    cache-control: no-cache, no-store, must-revalidate\r\n\r\n\
                    HTTP/1.1 405 Method Not Allowed\r\n\
                    content-type: application/json\r\n\
                    content-length: 54\r\n\
                    x-content-type-options: nosniff\r\n\
                    cache-control: no-cache, no-store, must-revalidate\r\n\
                    allow: GET, HEAD, OPTIONS\r\n\r\n\
                    {\"error\":\"method not allowed\",\"allow\":[\"GET\",\"HEAD\"]}\n\
                    HTTP/1.1 200 OK\r\n\
                    content-type: text/plain; charset=utf-8\r\n\
                    content-length: 3\r\n\
                    x-content-type-options: nosniff\r\n\
                    cache-control: no-cache, no-store, must-revalidate\r\n\r\n\
                    ok\n";
    assert_eq!(over_hyper(&health, requests).await, expected);
}
