//! Who a request came from, as axum's and tonic's users look for it, and how it came.
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Router, routing::get};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tower_ops::{ClientAddr, Ops, OpsBuilder};
use tower_ops_testing::{Http2Client, RawHttp1};

fn builder() -> OpsBuilder {
    Ops::builder("test")
        .private_recorder()
        .ops_addr("127.0.0.1:0")
        .lifecycle(|life| life.signals(false))
}

fn app() -> Router {
    let peer = get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string());
    let client = get(async |client: ClientAddr| client.ip().to_string());
    Router::new().route("/peer", peer).route("/client", client)
}

struct Serving(SocketAddr, AbortHandle);

impl Drop for Serving {
    fn drop(&mut self) {
        self.1.abort();
    }
}

async fn serve(ops: &Ops, app: Router) -> Serving {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let ops = ops.clone();
    let app = app.layer(ops.layer());
    let serving = tokio::spawn(async move { ops.serve(listener, app).await });
    Serving(addr, serving.abort_handle())
}

async fn http1(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut client = RawHttp1::connect(addr).await.unwrap();
    client.send_request("GET", path, headers, "").await.unwrap();
    let head = client.read_head().await.unwrap();
    let body = client.read_body(&head).await.unwrap();
    let text = String::from_utf8(body.data.to_vec()).unwrap();
    (head.status.as_u16(), text)
}

async fn http2(addr: SocketAddr, request: http::request::Builder) -> (u16, String) {
    let client = Http2Client::connect(addr).await.unwrap();
    let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
    let response = client.request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn connect_info_is_the_peer_of_the_socket() {
    let ops = builder().build().unwrap();
    let serving = serve(&ops, app()).await;
    let expected = (200, "127.0.0.1".to_owned());
    let forged = [("x-forwarded-for", "1.1.1.1")];
    assert_eq!(http1(serving.0, "/peer", &forged).await, expected);
    assert_eq!(http2(serving.0, Request::get("/peer")).await, expected);
}

#[cfg(feature = "tonic")]
#[tokio::test]
async fn remote_addr_is_known_to_grpc_services() {
    use axum::routing::post;
    use tonic::transport::server::TcpConnectInfo;

    let ops = builder().build().unwrap();
    let method = post(async |request: axum::extract::Request| {
        let request = tonic::Request::from_http(request);
        let known = request.extensions().get::<TcpConnectInfo>().is_some();
        format!("{known} {}", request.remote_addr().unwrap().ip())
    });
    let serving = serve(&ops, Router::new().route("/a.B/C", method)).await;
    let request = Request::post("/a.B/C").header("content-type", "application/grpc");
    assert_eq!(http2(serving.0, request).await.1, "true 127.0.0.1");
}

#[tokio::test]
async fn the_client_is_the_one_that_trusted_proxies_name() {
    for (trusted, client) in [("127.0.0.0/8", "203.0.113.9"), ("10.0.0.0/8", "127.0.0.1")] {
        let ops = builder().trusted_proxies([trusted]).build().unwrap();
        let serving = serve(&ops, app()).await;
        let headers = [("x-forwarded-for", "1.1.1.1, 203.0.113.9")];
        let (_, text) = http1(serving.0, "/client", &headers).await;
        assert_eq!(text, client);
        let (_, text) = http1(serving.0, "/peer", &headers).await;
        assert_eq!(text, "127.0.0.1", "that of the socket in any case");
        for request in ops.requests().unwrap().history() {
            assert_eq!(request.peer.unwrap().ip().to_string(), client);
        }
    }
    let error = builder().trusted_proxies(["10.0.0.0/99", "x"]).build();
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("10.0.0.0/99") && text.contains("\"x\""),
        "{text}"
    );
}

#[tokio::test]
async fn the_peer_of_axums_own_server_is_known_where_it_has_connect_info() {
    let ops = builder().build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = app().layer(ops.layer());
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    let serving = tokio::spawn(axum::serve(listener, service).into_future());
    http1(addr, "/peer", &[]).await;
    let mut history = ops.requests().unwrap().history();
    while history.is_empty() {
        sleep(Duration::from_millis(5)).await;
        history = ops.requests().unwrap().history();
    }
    assert_eq!(history[0].peer.unwrap().ip().to_string(), "127.0.0.1");
    serving.abort();
}

#[tokio::test]
async fn the_scheme_is_that_of_the_connection_and_not_the_clients_choice() {
    let ops = builder().build().unwrap();
    let serving = serve(&ops, app()).await;
    let uri = Uri::builder()
        .scheme("https")
        .authority(serving.0.to_string())
        .path_and_query("/peer");
    http2(serving.0, Request::get(uri.build().unwrap())).await;
    http1(serving.0, &format!("https://{}/peer", serving.0), &[]).await;
    let text = ops.prometheus().unwrap().render();
    assert!(text.contains("url_scheme=\"http\""), "{text}");
    assert!(!text.contains("url_scheme=\"https\""), "{text}");
}
