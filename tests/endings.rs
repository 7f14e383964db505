//! Every way an exchange with the playground can end but for the plain one, and
//! what it is counted as.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::time::Duration;

use http_body_util::BodyExt;
use tokio::time::timeout;
use tower_ops_testing::{Http2Client, RawHttp1};
use tower_ops_tests::{Protocol, Service};

const DURATION: &str = "http_server_request_duration_seconds_count";
const DEADLINE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_panic_ends_its_exchange_and_no_other() {
    let service = Service::start("playground").await;
    for protocol in Protocol::ALL {
        let panicked = protocol.ask(service.app(), "GET", "/panic", &[], "").await;
        assert!(panicked.is_err());
        let panicked = protocol
            .ask(service.app(), "GET", "/panic-body", &[], "")
            .await;
        assert!(panicked.is_err());
    }
    // Over HTTP/2 the connection goes on.
    let client = Http2Client::connect(service.app()).await.unwrap();
    client.get("/panic").await.unwrap_err();
    assert_eq!(client.get("/").await.unwrap().status(), 200);

    let samples = service.scrape_idle().await;
    assert_eq!(samples.ended("panicked"), 5);
    let panics = |labels: &[(&str, &str)]| samples.count(DURATION, labels);
    assert_eq!(
        panics(&[("http_route", "/panic"), ("error_type", "panic")]),
        3
    );
    assert_eq!(
        panics(&[
            ("http_route", "/panic-body"),
            ("error_type", "panic"),
            ("http_response_status_code", "200")
        ]),
        2
    );
}

#[tokio::test]
async fn a_broken_body_delivers_its_chunks_first() {
    let service = Service::start("playground").await;
    for (path, chunks) in [
        ("/error-body/0", 0),
        ("/error-body/3", 3),
        ("/panic-body", 1),
    ] {
        let mut client = RawHttp1::connect(service.app()).await.unwrap();
        client.send_request("GET", path, &[], "").await.unwrap();
        assert_eq!(client.read_head().await.unwrap().status, 200);
        let mut rest = Vec::new();
        while let Ok(bytes) = client.read_some().await
            && !bytes.is_empty()
        {
            rest.extend_from_slice(&bytes);
        }
        let dots = rest.iter().filter(|byte| **byte == b'.').count();
        assert_eq!(dots, 99 * chunks, "{path}");
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{path} has no proper end");

        let client = Http2Client::connect(service.app()).await.unwrap();
        let response = client.get(path).await.unwrap();
        assert_eq!(response.status(), 200);
        response.collect().await.unwrap_err();
    }
    let samples = service.scrape_idle().await;
    assert_eq!(samples.ended("body_failed"), 4);
    let labels = [
        ("http_route", "/error-body/{chunks}"),
        ("http_response_status_code", "200"),
        ("error_type", "body_error"),
    ];
    assert_eq!(samples.count(DURATION, &labels), 4);
}

#[tokio::test]
async fn head_has_no_body_and_is_complete() {
    let service = Service::start("playground").await;
    let mut client = RawHttp1::connect(service.app()).await.unwrap();
    for path in ["/users/42", "/stream/3/0", "/nowhere", "/sse"] {
        client.send_request("HEAD", path, &[], "").await.unwrap();
        let head = client.read_head().await.unwrap();
        if path == "/users/42" {
            assert_eq!(head.headers["content-length"], "11");
        }
    }
    // Right after the head of the last comes the head of this one.
    client.send_request("GET", "/", &[], "").await.unwrap();
    assert_eq!(client.read_head().await.unwrap().status, 200);
    let path = "/stream/3/0";
    let answer = Protocol::Http2.ask(service.app(), "HEAD", path, &[], "");
    assert_eq!(answer.await.unwrap().body, "");

    let samples = service.scrape_idle().await;
    let head = [("http_request_method", "HEAD")];
    assert_eq!(samples.count(DURATION, &head), 5);
    assert_eq!(samples.ended("completed"), 6);
    assert_eq!(
        samples.count("http_server_response_body_size_bytes_sum", &head),
        0
    );
}

#[tokio::test]
async fn a_websocket_is_upgraded_and_echoes() {
    let service = Service::start("playground").await;
    let mut client = RawHttp1::connect(service.app()).await.unwrap();
    let handshake = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("x-request-id", "socket-1"),
    ];
    client
        .send_request("GET", "/ws", &handshake, "")
        .await
        .unwrap();
    let head = client.read_head().await.unwrap();
    assert_eq!(head.status, 101);
    assert_eq!(
        head.headers["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    assert_eq!(head.headers["x-request-id"], "socket-1");

    // "hello", masked with zeroes, and as it comes back.
    client.send(b"\x81\x85\0\0\0\0hello").await.unwrap();
    assert_eq!(client.read_some().await.unwrap(), &b"\x81\x05hello"[..]);

    // The exchange ended with the handshake, though the socket is open.
    let samples = service.scrape_idle().await;
    assert_eq!(samples.ended("upgraded"), 1);
    assert_eq!(samples.count("server_requests_total", &[]), 1);
    let labels = [
        ("http_route", "/ws"),
        ("http_response_status_code", "101"),
        ("network_protocol_version", "1.1"),
    ];
    assert_eq!(samples.count(DURATION, &labels), 1);

    client.send(b"\x88\x80\0\0\0\0").await.unwrap();
    assert_eq!(client.read_some().await.unwrap(), &b"\x88\0"[..]);
    assert_eq!(client.read_some().await.unwrap(), "");
}

#[tokio::test]
async fn what_the_client_cuts_is_cancelled() {
    let service = Service::start("playground").await;

    // Server-sent events, after the first of them; the second time with an RST.
    for reset in [false, true] {
        let mut client = RawHttp1::connect(service.app()).await.unwrap();
        client.send_request("GET", "/sse", &[], "").await.unwrap();
        let head = client.read_head().await.unwrap();
        assert_eq!(head.headers["content-type"], "text/event-stream");
        assert!(!client.read_some().await.unwrap().is_empty());
        if reset {
            client.reset();
        }
    }
    let client = Http2Client::connect(service.app()).await.unwrap();
    let mut response = client.get("/sse").await.unwrap();
    let event = response.frame().await.unwrap().unwrap();
    assert!(event.data_ref().unwrap().starts_with(b"id: 0"));
    drop(response);
    let samples = service.scrape_idle().await;
    assert_eq!(samples.ended("cancelled_during_body"), 3);
    let labels = [
        ("http_route", "/sse"),
        ("http_response_status_code", "200"),
        ("error_type", "cancelled"),
    ];
    assert_eq!(samples.count(DURATION, &labels), 3);

    // Before the head.
    let mut raw = RawHttp1::connect(service.app()).await.unwrap();
    raw.send_request("GET", "/slow/60000", &[], "")
        .await
        .unwrap();
    in_flight(&service, 1).await;
    drop(raw);
    service.scrape_idle().await;
    let waits = client.get("/slow/60000");
    tokio::select! {
        _ = waits => panic!("it waits for a minute"),
        () = in_flight(&service, 1) => {}
    }
    let samples = service.scrape_idle().await;
    assert_eq!(samples.ended("cancelled_before_head"), 2);
    let labels = [("http_route", "/slow/{ms}"), ("error_type", "cancelled")];
    assert_eq!(samples.count(DURATION, &labels), 2);
    assert_eq!(
        samples.values("http_server_time_to_first_byte_seconds_count", "http_route"),
        ["/sse"].into(),
    );
}

async fn in_flight(service: &Service, wanted: usize) {
    let reached = timeout(DEADLINE, async {
        loop {
            let samples = service.scrape().await;
            if samples.count("server_in_flight_requests", &[]) == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    reached.await.unwrap();
}
