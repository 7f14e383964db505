//! The server and both clients against each other, over real sockets.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tower_ops_testing::{Http2Client, RawHttp1, Readied, ScriptedBody, Server};

const LONG: Duration = Duration::from_secs(10);

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await;
    let body = body.map_or_else(|_| Bytes::from("broken"), |body| body.to_bytes());
    let response = Response::builder().header("X-Path", path);
    Ok(response.body(Full::new(body)).unwrap())
}

/// Serves one body to everybody who asks, each time built anew by `body`.
async fn serve(body: impl Fn() -> ScriptedBody + Clone + Send + 'static) -> Server {
    let respond = move |_: Request<Incoming>| {
        let body = body();
        async move { Ok::<_, Infallible>(Response::new(body)) }
    };
    Server::spawn(Readied::from_fn(respond)).await
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "3".parse().unwrap());
    trailers
}

#[tokio::test]
async fn http1_keeps_the_connection_alive() {
    let server = Server::spawn(Readied::from_fn(echo).pending_readiness(2)).await;
    let mut client = RawHttp1::connect(server.addr()).await.unwrap();
    for body in ["one", "", "three"] {
        client.send_request("POST", "/a", &[], body).await.unwrap();
        let head = client.read_head().await.unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(head.headers["x-path"], "/a");
        assert_eq!(client.read_body(&head).await.unwrap().data, body);
    }
    assert_eq!(
        server.url("/a"),
        format!("http://127.0.0.1:{}/a", server.addr().port())
    );
}

#[tokio::test]
async fn http1_shows_chunks_and_trailers() {
    // hyper sends the trailers that the response announced, and to a client that asks for them.
    let server = Server::spawn(Readied::from_fn(|_: Request<Incoming>| async {
        let body = ScriptedBody::new().data("ab").data("c");
        let response = Response::builder().header("trailer", "x-sum");
        Ok::<_, Infallible>(response.body(body.trailers(trailers())).unwrap())
    }))
    .await;
    let mut client = RawHttp1::connect(server.addr()).await.unwrap();
    let asking = [("te", "trailers")];
    client.send_request("GET", "/", &asking, "").await.unwrap();
    let head = client.read_head().await.unwrap();
    assert_eq!(head.headers["transfer-encoding"], "chunked");
    let body = client.read_body(&head).await.unwrap();
    assert_eq!(body.data, "abc");
    assert_eq!(body.trailers, trailers());
}

#[tokio::test]
async fn http1_sees_a_body_that_breaks_off() {
    let server = serve(|| ScriptedBody::new().data("ab").pending().error("lost")).await;
    let mut client = RawHttp1::connect(server.addr()).await.unwrap();
    client.send_request("GET", "/", &[], "").await.unwrap();
    let head = client.read_head().await.unwrap();
    let error = client.read_body(&head).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn http1_reads_on_after_a_half_close() {
    let server = Server::spawn(Readied::from_fn(echo)).await;
    let mut client = RawHttp1::connect(server.addr()).await.unwrap();
    let headers = [("connection", "close")];
    client
        .send_request("POST", "/", &headers, "last")
        .await
        .unwrap();
    let head = client.read_head().await.unwrap();
    client.half_close().await.unwrap();
    assert_eq!(client.read_body(&head).await.unwrap().data, "last");
    assert_eq!(client.read_some().await.unwrap(), "");
}

/// Sends half a body, breaks off by `end`, and returns how the body ended at the server.
async fn break_off(end: impl FnOnce(RawHttp1)) -> String {
    let (sender, mut received) = mpsc::unbounded_channel();
    let service = Readied::from_fn(move |request: Request<Incoming>| {
        let sender = sender.clone();
        async move {
            let mut body = request.into_body();
            let report = loop {
                match body.frame().await {
                    Some(Ok(_)) => sender.send("some".to_owned()).unwrap(),
                    Some(Err(error)) => break format!("{error:?}"),
                    None => break "complete".to_owned(),
                }
            };
            sender.send(report).unwrap();
            Ok::<_, Infallible>(Response::new(ScriptedBody::new()))
        }
    });
    let server = Server::spawn(service).await;
    let mut client = RawHttp1::connect(server.addr()).await.unwrap();
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf")
        .await
        .unwrap();
    let mut next = async || timeout(LONG, received.recv()).await.unwrap().unwrap();
    assert_eq!(next().await, "some");
    end(client);
    next().await
}

#[tokio::test]
async fn a_reset_is_an_error_to_the_server() {
    let end = break_off(RawHttp1::reset).await;
    assert!(end.contains("ConnectionReset"), "{end}");
}

#[tokio::test]
async fn a_drop_is_an_early_end_to_the_server() {
    let end = break_off(drop).await;
    assert!(
        end.contains("IncompleteBody") || end.contains("UnexpectedEof"),
        "{end}"
    );
}

#[tokio::test]
#[should_panic(expected = "reading a head: not done within")]
async fn a_deadline_panics() {
    let silent = Readied::from_fn(|_: Request<Incoming>| {
        std::future::pending::<Result<Response<ScriptedBody>, Infallible>>()
    });
    let server = Server::spawn(silent).await;
    let client = RawHttp1::connect(server.addr()).await.unwrap();
    let mut client = client.with_deadline(Duration::from_millis(30));
    client.send_request("GET", "/", &[], "").await.unwrap();
    let _ = client.read_head().await;
}

#[tokio::test]
async fn http2_sends_bodies_and_sees_trailers() {
    let server = Server::spawn(Readied::from_fn(echo)).await;
    let client = Http2Client::connect(server.addr()).await.unwrap();
    let request = Request::post("/b?c").body(ScriptedBody::new().data("xy").pending().data("z"));
    let response = client.request(request.unwrap()).await.unwrap();
    assert_eq!(response.headers()["x-path"], "/b");
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "xyz"
    );

    let server = serve(|| ScriptedBody::new().data("ab").trailers(trailers())).await;
    let client = Http2Client::connect(server.addr()).await.unwrap();
    let body = client.get("/").await.unwrap().into_body();
    let body = body.collect().await.unwrap();
    assert_eq!(body.trailers(), Some(&trailers()));
}

#[tokio::test]
async fn http2_clones_share_the_connection() {
    let server = Server::spawn(Readied::from_fn(echo)).await;
    let client = Http2Client::connect(server.addr()).await.unwrap();
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.get(&format!("/{n}")).await.unwrap() })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        let response = task.await.unwrap();
        assert_eq!(response.headers()["x-path"], format!("/{n}"));
    }
}

#[tokio::test]
async fn http2_resets_only_the_stream_that_is_dropped() {
    let (probes, mut probe) = mpsc::unbounded_channel();
    let server = serve(move || {
        let body = ScriptedBody::new().data("first").stalled();
        probes.send(body.probe()).unwrap();
        body
    })
    .await;
    let client = Http2Client::connect(server.addr()).await.unwrap();
    let kept = client.get("/").await.unwrap();
    let kept_probe = probe.recv().await.unwrap();
    let mut dropped = client.get("/").await.unwrap();
    let dropped_probe = probe.recv().await.unwrap();
    assert_eq!(
        dropped.frame().await.unwrap().unwrap().into_data().unwrap(),
        "first"
    );
    drop(dropped);
    timeout(LONG, dropped_probe.dropped()).await.unwrap();
    assert!(!kept_probe.is_dropped());

    drop(client);
    timeout(LONG, kept_probe.dropped()).await.unwrap();
    assert!(kept.into_body().collect().await.is_err());
}

#[tokio::test]
async fn dropping_the_server_ends_everything() {
    let (probes, mut probe) = mpsc::unbounded_channel();
    let server = serve(move || {
        let body = ScriptedBody::new().data("first").stalled();
        probes.send(body.probe()).unwrap();
        body
    })
    .await;
    let mut http1 = RawHttp1::connect(server.addr()).await.unwrap();
    http1.send_request("GET", "/", &[], "").await.unwrap();
    let head = http1.read_head().await.unwrap();
    let http2 = Http2Client::connect(server.addr()).await.unwrap();
    let response = http2.get("/").await.unwrap();

    let addr = server.addr();
    drop(server);
    for _ in 0..2 {
        let probe = probe.recv().await.unwrap();
        timeout(LONG, probe.dropped()).await.unwrap();
    }
    assert!(http1.read_body(&head).await.is_err());
    assert!(response.into_body().collect().await.is_err());
    assert!(RawHttp1::connect(addr).await.is_err());
}
