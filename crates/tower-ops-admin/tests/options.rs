//! OPTIONS, with which balancers check, and what every answer carries.
#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::net::Ipv4Addr;

use axum::Router;
use axum::routing::{get, post};
use http::{Method, Request, Response};
use tower::service_fn;
use tower_ops_admin::{Admin, AdminRequestBody, Mount};
use tower_ops_testing::RawHttp1;

#[tokio::test]
async fn options_has_the_status_of_get_and_no_body_on_every_path() {
    let by_method = Router::new()
        .route("/router", get(async || "got"))
        .route("/router/posted", post(async || "posted"))
        .route(
            "/router/failing",
            get(async || http::StatusCode::IM_A_TEAPOT),
        );
    let only_get = service_fn(async |request: Request<AdminRequestBody>| {
        // What asks for anything else would change something here.
        assert_eq!(*request.method(), Method::GET);
        Ok::<_, Infallible>(Response::new("only GET".to_owned()))
    });
    let endpoint = Admin::builder("test")
        .mount(Mount::new("/router", by_method.into_service::<AdminRequestBody>()).subpaths())
        .mount(Mount::new("/get", only_get))
        .build()
        .unwrap()
        .start((Ipv4Addr::LOCALHOST, 0))
        .unwrap();
    for path in [
        "/",
        "/info",
        "/nothing",
        "/router",
        "/router/posted",
        "/router/failing",
        "/router/nothing",
        "/get",
        "/get/",
    ] {
        let mut answers = Vec::new();
        for (method, version) in [("GET", "1.0"), ("OPTIONS", "1.0"), ("OPTIONS", "1.1")] {
            let mut client = RawHttp1::connect(endpoint.addr()).await.unwrap();
            let host = if version == "1.1" {
                "host: localhost\r\n"
            } else {
                ""
            };
            let request = format!("{method} {path} HTTP/{version}\r\n{host}\r\n");
            client.send(request).await.unwrap();
            let head = client.read_head().await.unwrap();
            assert_eq!(head.headers["x-content-type-options"], "nosniff", "{path}");
            assert_eq!(head.headers["cache-control"], "no-store", "{path}");
            if method == "OPTIONS" {
                assert_eq!(head.headers["content-length"], "0", "{path}");
                assert!(
                    head.headers["allow"].to_str().unwrap().contains("GET")
                        || path.ends_with("posted")
                );
            }
            answers.push(head.status);
        }
        assert!(
            answers.iter().all(|status| *status == answers[0]),
            "{path}: {answers:?}"
        );
    }
    let mut client = RawHttp1::connect(endpoint.addr()).await.unwrap();
    client
        .send("OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(client.read_head().await.unwrap().status, 200);
}
