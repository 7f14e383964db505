//! An axum router and gRPC services on one port, and each alone.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::net::SocketAddr;

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::Layer;
use tower_ops::Ops;
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
    let app = web().merge(grpc().into_axum_router()).layer(ops.layer());
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
