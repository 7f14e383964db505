//! Responses that are not what their head says, over real sockets: what is recorded is what the
//! client gets.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::{any, get};
use http_body_util::{BodyExt, Empty};
use tower_ops_observe::{Class, ObserveLayer, Outcome};
use tower_ops_testing::{Http2Client, RawHttp1, Server};

#[path = "support/record.rs"]
mod record;
use record::{Ended, Recorder};

async fn short(Path((announced, sent)): Path<(String, usize)>) -> Response {
    let chunk = Bytes::from(vec![b'.'; sent]);
    let body = Body::from_stream(tokio_stream::once(Ok::<_, Infallible>(chunk)));
    let response = Response::builder().header(header::CONTENT_LENGTH, announced);
    response.body(body).unwrap()
}

async fn last(Path((code, length)): Path<(u16, String)>) -> Response {
    let response = Response::builder().status(StatusCode::from_u16(code).unwrap());
    let response = response.header(header::CONTENT_LENGTH, length);
    response.body(Body::empty()).unwrap()
}

async fn plain(Path(code): Path<u16>) -> Response {
    let response = Response::builder().status(StatusCode::from_u16(code).unwrap());
    response.body(Body::from("some text")).unwrap()
}

async fn serve(recorder: &Recorder) -> Server {
    let app = Router::new()
        .route("/short/{announced}/{sent}", get(short))
        .route("/last/{code}/{length}", any(last))
        .route("/plain/{code}", any(plain))
        .layer(ObserveLayer::new(recorder.clone()));
    Server::spawn(app).await
}

/// The status and the length that the client got, if it got a whole response.
type Got = Option<(u16, usize)>;

async fn http1(method: &str, path: &str) -> (Got, Ended) {
    let recorder = Recorder::new();
    let server = serve(&recorder).await;
    let mut client = RawHttp1::connect(server.addr()).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    client.send(request).await.unwrap();
    let got = async {
        let head = client.read_head().await.ok()?;
        let length = if method == "HEAD" {
            0
        } else {
            client.read_body(&head).await.ok()?.data.len()
        };
        Some((head.status.as_u16(), length))
    };
    (got.await, recorder.ended().await)
}

async fn http2(method: &str, path: &str) -> (Got, Ended) {
    let recorder = Recorder::new();
    let server = serve(&recorder).await;
    let client = Http2Client::connect(server.addr()).await.unwrap();
    let request = http::Request::builder().method(method).uri(path);
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let got = async {
        let response = client.request(request).await.ok()?;
        let status = response.status().as_u16();
        let length = response.collect().await.ok()?.to_bytes().len();
        Some((status, length))
    };
    (got.await, recorder.ended().await)
}

#[track_caller]
fn is_broken((got, ended): (Got, Ended), what: &str) {
    assert_eq!(got, None, "{what}: the client gets no whole response");
    assert_eq!(ended.outcome, Outcome::BodyFailed, "{what}");
    assert_eq!(ended.class, Class::ServerError, "{what}");
    assert!(ended.error.is_some(), "{what}");
}

#[track_caller]
fn is_whole((got, ended): (Got, Ended), status: u16, length: usize, what: &str) {
    assert_eq!(got, Some((status, length)), "{what}");
    assert_eq!(ended.outcome, Outcome::Completed, "{what}");
    assert_eq!(ended.bytes_sent, length as u64, "{what}");
}

#[tokio::test]
async fn a_body_that_is_shorter_than_announced_has_failed() {
    for path in ["/short/10/5", "/short/10/0", "/short/1000000/999999"] {
        is_broken(http1("GET", path).await, path);
        is_broken(http2("GET", path).await, path);
    }
}

#[tokio::test]
async fn a_body_of_the_length_announced_is_whole() {
    is_whole(http1("GET", "/short/5/5").await, 200, 5, "http1");
    is_whole(http2("GET", "/short/5/5").await, 200, 5, "http2");
}

#[tokio::test]
async fn a_longer_body_is_cut_over_http1_and_counted_as_far_as_it_is_sent() {
    is_whole(http1("GET", "/short/5/10").await, 200, 5, "5 of 10");
    is_whole(http1("GET", "/short/0/10").await, 200, 0, "0 of 10");
}

#[tokio::test]
async fn a_longer_body_has_failed_over_http2() {
    is_broken(http2("GET", "/short/5/10").await, "5 of 10");
    is_broken(http2("GET", "/short/0/10").await, "0 of 10");
}

#[tokio::test]
async fn a_length_that_is_no_number_breaks_the_response() {
    is_broken(http1("GET", "/short/many/5").await, "http1");
    is_broken(http2("GET", "/short/many/5").await, "http2");
}

#[tokio::test]
async fn a_1xx_status_is_what_the_client_gets_for_it() {
    for code in [100, 102, 103, 199] {
        let path = format!("/plain/{code}");
        let (got, ended) = http1("GET", &path).await;
        assert_eq!(got, Some((500, 0)), "{path}");
        assert_eq!(ended.status, Some(StatusCode::INTERNAL_SERVER_ERROR));
        assert_eq!((ended.class, ended.bytes_sent), (Class::ServerError, 0));
    }
    for path in ["/plain/103", "/plain/101", "/last/103/0", "/last/101/0"] {
        let (got, ended) = http2("GET", path).await;
        assert_eq!(got, None, "{path}");
        assert_eq!((ended.class, ended.status), (Class::ServerError, None));
    }
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_none() {
    let (_, ended) = http1("GET", "/plain/101").await;
    assert_eq!(
        (ended.outcome, ended.class),
        (Outcome::Failed, Class::ServerError)
    );
}

#[tokio::test]
async fn a_head_that_may_announce_what_does_not_come_is_whole() {
    for (method, path, status) in [
        ("HEAD", "/short/10/5", 200),
        ("HEAD", "/last/200/10", 200),
        ("GET", "/last/304/10", 304),
        ("GET", "/last/204/0", 204),
        ("GET", "/last/205/0", 205),
        ("GET", "/plain/204", 204),
        ("GET", "/plain/304", 304),
    ] {
        // hyper leaves the bodies of 204 and 304 out, on HTTP/1 only.
        is_whole(http1(method, path).await, status, 0, path);
        if !path.starts_with("/plain") {
            is_whole(http2(method, path).await, status, 0, path);
        }
    }
}

#[tokio::test]
async fn an_empty_body_that_announces_some_is_mended_over_http1_and_broken_over_http2() {
    for code in [200, 205, 500] {
        let path = format!("/last/{code}/10");
        is_whole(http1("GET", &path).await, code, 0, &path);
        is_broken(http2("GET", &path).await, &path);
    }
}

#[tokio::test]
async fn a_body_where_there_must_be_none_is_broken_over_http2() {
    for path in ["/plain/204", "/plain/304"] {
        let (_, ended) = http2("GET", path).await;
        assert_eq!(ended.outcome, Outcome::BodyFailed, "{path}");
    }
}
