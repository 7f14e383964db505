//! Where the endpoint listens.
#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use http::{Request, Response};
use tower::service_fn;
use tower_ops_admin::{Admin, AdminBuilder, AdminRequestBody, Mount, RemoteAddr};
use tower_ops_testing::RawHttp1;

/// Says who asked.
fn builder() -> AdminBuilder {
    let who = service_fn(async |request: Request<AdminRequestBody>| {
        let peer = request.extensions().get::<RemoteAddr>().unwrap().addr();
        Ok::<_, Infallible>(Response::new(peer.ip().to_string()))
    });
    Admin::builder("test").mount(Mount::new("/who", who))
}

async fn who(addr: SocketAddr) -> String {
    let mut client = RawHttp1::connect(addr).await.unwrap();
    client.send("GET /who HTTP/1.0\r\n\r\n").await.unwrap();
    let head = client.read_head().await.unwrap();
    let body = client.read_body(&head).await.unwrap().data;
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn all_addresses_are_those_of_both_families_and_peers_are_canonical() {
    let admin = builder().ephemeral_port().build().unwrap();
    let endpoint = admin.start((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let port = endpoint.addr().port();
    assert_eq!(who((Ipv4Addr::LOCALHOST, port).into()).await, "127.0.0.1");
    // Not every machine has IPv6, and then the endpoint does without.
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        assert!(endpoint.addr().is_ipv6());
        assert_eq!(who((Ipv6Addr::LOCALHOST, port).into()).await, "::1");
    }
}

#[tokio::test]
async fn port_0_can_be_any_and_a_taken_one_is_named() {
    let admin = builder().ephemeral_port().build().unwrap();
    let endpoint = admin.start((Ipv4Addr::LOCALHOST, 0)).unwrap();
    assert!(!(8080..=9000).contains(&endpoint.addr().port()));
    for addr in [
        endpoint.addr(),
        (Ipv6Addr::UNSPECIFIED, endpoint.addr().port()).into(),
    ] {
        let text = admin.start(addr).unwrap_err().to_string();
        assert!(text.contains(&format!("cannot listen on {addr}")), "{text}");
        assert!(text.contains("choose another address"), "{text}");
    }
}
