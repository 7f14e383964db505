//! Requests to a state service on a real socket.

use std::net::SocketAddr;

use bytes::Bytes;
use tower_ops_testing::{Head, RawHttp1};

pub(crate) const TOKEN: &str = "0123456789abcdef";
pub(crate) const AUTH: (&str, &str) = ("authorization", "Bearer 0123456789abcdef");
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

pub(crate) async fn ask(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (Head, Bytes) {
    let mut client = RawHttp1::connect(addr).await.unwrap();
    client
        .send_request(method, path, headers, body)
        .await
        .unwrap();
    let head = client.read_head().await.unwrap();
    let data = if method == "HEAD" {
        Bytes::new()
    } else {
        client.read_body(&head).await.unwrap().data
    };
    (head, data)
}
