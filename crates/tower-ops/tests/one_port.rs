//! An axum router and gRPC services on one port, and each alone.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::net::SocketAddr;

use axum::{Router, body::Body, routing::get};
use http::{Request, StatusCode};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::{Layer, ServiceExt};
use tower_ops::{Ops, axum_and_grpc};
use tower_ops_testing::RawHttp1;

fn ops() -> Ops {
    let builder = Ops::builder("test").private_recorder();
    builder.ops_addr("127.0.0.1:0").build().unwrap()
}

fn web() -> Router {
    Router::new().route("/", get(async || "hello"))
}

fn grpc() -> Routes {
    let (_, health) = tonic_health::server::health_reporter();
    Routes::new(health)
}

async fn get_root(addr: SocketAddr) -> String {
    let mut client = RawHttp1::connect(addr).await.unwrap();
    client.send_request("GET", "/", &[], "").await.unwrap();
    let head = client.read_head().await.unwrap();
    let body = client.read_body(&head).await.unwrap();
    String::from_utf8_lossy(&body.data).into_owned()
}

async fn check(addr: SocketAddr) -> i32 {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
    let mut client = HealthClient::new(endpoint.connect().await.unwrap());
    let answer = client.check(HealthCheckRequest::default()).await.unwrap();
    answer.into_inner().status
}

/// What `/metrics` would say.
fn counted(ops: &Ops, what: &str) -> bool {
    ops.prometheus().unwrap().render().contains(what)
}

#[tokio::test]
async fn axum_and_grpc_share_a_port() {
    let ops = ops();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = axum_and_grpc(web(), grpc()).layer(ops.layer());
    let serving = tokio::spawn({
        let ops = ops.clone();
        async move { ops.serve_until(listener, app, std::future::pending()).await }
    });
    assert_eq!(get_root(addr).await, "hello");
    assert_eq!(check(addr).await, 1);
    assert!(counted(&ops, "grpc.health.v1.Health/Check"));
    assert!(counted(&ops, "http_route=\"/\""));
    serving.abort();
}

/// The status, the gRPC status and the text.
async fn ask(app: &Router, method: &str, path: &str, kind: &str) -> (u16, String, String) {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("content-type", kind).body(Body::empty());
    let response = app.clone().oneshot(request.unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let header = response.headers().get("grpc-status");
    let grpc = header.map_or("", |it| it.to_str().unwrap()).to_owned();
    let body = axum::body::to_bytes(response.into_body(), 1024).await;
    (
        status,
        grpc,
        String::from_utf8(body.unwrap().into()).unwrap(),
    )
}

#[tokio::test]
async fn what_nobody_knows_is_answered_in_the_callers_protocol() {
    const METHOD: &str = "/grpc.health.v1.Health/Check";
    let grpc_kinds = ["application/grpc", "application/grpc-web+proto"];
    let ops = ops();
    let own_fallback = web().fallback(async || (StatusCode::NOT_FOUND, "no such page"));
    let catching_all = web().route("/{*path}", get(async || "a page"));
    for (app, method, path, expected) in [
        (web(), "GET", "/nowhere", (404, "")),
        (web(), "POST", "/", (405, "")),
        (web(), "GET", METHOD, (404, "")),
        (web(), "POST", METHOD, (404, "")),
        (
            own_fallback.clone(),
            "GET",
            "/no/where",
            (404, "no such page"),
        ),
        (own_fallback.clone(), "POST", METHOD, (404, "no such page")),
        (catching_all.clone(), "GET", METHOD, (200, "a page")),
    ] {
        let app = axum_and_grpc(app, grpc()).layer(ops.layer());
        let (status, grpc_status, text) = ask(&app, method, path, "text/plain").await;
        assert_eq!((status, text.as_str()), expected, "{method} {path}");
        assert_eq!(grpc_status, "", "{method} {path}");
        for kind in grpc_kinds {
            for path in [
                "/no.Such/Method",
                "/grpc.health.v1.Health/Nope",
                "/",
                "/a/b/c",
            ] {
                let (status, grpc_status, _) = ask(&app, "POST", path, kind).await;
                assert_eq!((status, &*grpc_status), (200, "12"), "{kind} {path}");
            }
        }
    }
}

#[tokio::test]
async fn layers_around_both_know_the_routes() {
    let ops = ops();
    let users = Router::new().route("/{id}", get(async || "a user"));
    let web = web().nest("/users", users);
    let app = axum_and_grpc(web, grpc()).layer(ops.layer());
    for path in ["/", "/users/1", "/nowhere"] {
        ask(&app, "GET", path, "text/plain").await;
    }
    for route in ["/", "/users/{id}", "{unmatched}"] {
        assert!(counted(&ops, &format!("http_route=\"{route}\"")), "{route}");
    }
}

#[tokio::test]
async fn tonic_routes_alone_are_served_as_they_are() {
    let ops = ops();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = ops.layer().layer(grpc());
    let serving = tokio::spawn({
        let ops = ops.clone();
        async move { ops.serve_until(listener, app, std::future::pending()).await }
    });
    assert_eq!(check(addr).await, 1);
    assert!(
        counted(&ops, "grpc.health.v1.Health/Check"),
        "{}",
        ops.prometheus().unwrap().render()
    );
    serving.abort();
}
