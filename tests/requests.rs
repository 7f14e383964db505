//! `/requests` on the operations endpoint, with real requests.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Endpoint;
use tower_ops_examples::playground::{FailRequest, echo_client::EchoClient};
use tower_ops_testing::RawHttp1;
use tower_ops_tests::Service;

const DEADLINE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_request_that_the_client_cuts_is_listed_before_and_after() {
    let service = Service::start("playground").await;
    let mut slow = RawHttp1::connect(service.app()).await.unwrap();
    slow.send_request("GET", "/slow/60000", &[("x-request-id", "slow-1")], "")
        .await
        .unwrap();
    let mut stream = RawHttp1::connect(service.app()).await.unwrap();
    stream
        .send_request(
            "GET",
            "/stream/100000/5",
            &[("x-request-id", "stream-1")],
            "",
        )
        .await
        .unwrap();
    let peer = stream.local_addr().unwrap().to_string();
    stream.read_head().await.unwrap();

    // A client that reads on for a while.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(100) {
        assert!(!stream.read_some().await.unwrap().is_empty());
    }
    let (_, text) = service.ops_get("/requests").await;
    let listed: Value = serde_json::from_str(&text).unwrap();
    let of = |id: &str| find(&listed, id).unwrap_or_else(|| panic!("{id} is not in {text}"));
    assert_eq!(of("slow-1")["route"], "/slow/{ms}");
    assert_eq!(of("slow-1")["phase"], "head");
    assert_eq!(of("stream-1")["path"], "/stream/100000/5");
    assert_eq!(of("stream-1")["phase"], "body");
    assert_eq!(of("stream-1")["status"], 200);
    assert_eq!(of("stream-1")["peer"], peer);
    assert_eq!(of("stream-1")["outcome"], Value::Null);
    assert!(of("stream-1")["age_ms"].as_f64().unwrap() >= 99.0);
    assert!(of("stream-1")["bytes_sent"].as_u64().unwrap() >= 100);

    drop((slow, stream));
    let history = until(&service, "/requests/history?outcome=cancelled", |history| {
        find(history, "slow-1").is_some() && find(history, "stream-1").is_some()
    })
    .await;
    let slow = find(&history, "slow-1").unwrap();
    assert_eq!(slow["outcome"], "cancelled_before_head");
    assert_eq!(slow["phase"], "head");
    assert_eq!(slow["status"], Value::Null);
    assert_eq!(slow["bytes_sent"], 0);
    let stream = find(&history, "stream-1").unwrap();
    assert_eq!(stream["outcome"], "cancelled_during_body");
    assert_eq!(stream["phase"], "body");
    assert_eq!(stream["status"], 200);
    assert!(stream["bytes_sent"].as_u64().unwrap() >= 100);

    let (_, text) = service.ops_get("/requests").await;
    let listed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(listed["requests"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn streams_and_upgrades_are_told_apart() {
    let service = Service::start("playground").await;
    let mut events = RawHttp1::connect(service.app()).await.unwrap();
    events.send_request("GET", "/sse", &[], "").await.unwrap();
    events.read_head().await.unwrap();
    let listed = until(&service, "/requests", |listed| {
        listed["requests"][0]["kind"] == "stream"
    })
    .await;
    assert_eq!(listed["requests"][0]["route"], "/sse");

    let mut socket = RawHttp1::connect(service.app()).await.unwrap();
    let upgrade = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    socket
        .send_request("GET", "/ws", &upgrade, "")
        .await
        .unwrap();
    assert_eq!(socket.read_head().await.unwrap().status, 101);
    let history = until(&service, "/requests/history?route=/ws", |history| {
        !history["requests"].as_array().unwrap().is_empty()
    })
    .await;
    assert_eq!(history["requests"][0]["kind"], "upgrade");
    assert_eq!(history["requests"][0]["outcome"], "upgraded");
}

#[tokio::test]
async fn text_from_a_client_is_escaped_and_statistics_add_up() {
    let service = Service::start("playground").await;
    for _ in 0..20 {
        service.get("/users/%3Cb%3E%22x", &[]).await;
    }
    service.get("/nowhere", &[]).await;
    let stats = until(&service, "/requests/stats", |stats| {
        stats["outcomes"]["completed"] == 21
    })
    .await;
    assert_eq!(stats["in_flight"], 0);
    let routes = stats["routes"].as_array().unwrap();
    let users = routes
        .iter()
        .find(|route| route["route"] == "/users/{id}")
        .unwrap();
    assert_eq!(users["total"], 20);
    assert!(users["p99_ms"].as_f64().unwrap() >= users["p50_ms"].as_f64().unwrap());
    assert_eq!(stats["classes"]["client_error"], 1);

    let (_, text) = service
        .ops_get("/requests/history?limit=1&route=/users/%7Bid%7D")
        .await;
    let history: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(history["requests"].as_array().unwrap().len(), 1);
    assert_eq!(history["requests"][0]["path"], "/users/%3Cb%3E%22x");
    let (status, text) = service.ops_get("/requests/history?outcome=nonsense").await;
    assert_eq!(status, 400);
    assert!(text.contains("cancelled_during_body"), "{text}");
}

#[tokio::test]
async fn a_grpc_call_is_listed_with_its_method_its_status_and_its_peer() {
    let service = Service::start("grpc").await;
    let endpoint = Endpoint::from_shared(format!("http://{}", service.app())).unwrap();
    let mut client = EchoClient::new(endpoint.connect().await.unwrap());
    let fail = FailRequest {
        messages: 2,
        code: 5,
        message: "gone".into(),
    };
    let mut messages = client.fail(fail).await.unwrap().into_inner();
    while messages
        .message()
        .await
        .is_ok_and(|message| message.is_some())
    {}

    let history = until(&service, "/requests/history", |history| {
        history["requests"][0]["outcome"] == "completed"
    })
    .await;
    let call = &history["requests"][0];
    assert_eq!(call["route"], "playground.Echo/Fail");
    assert_eq!(call["grpc_status"], "NOT_FOUND");
    assert_eq!(call["class"], "client_error");
    assert!(call["bytes_sent"].as_u64().unwrap() > 0);
    assert!(call["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
}

/// Asks until the answer is as expected: a server learns of an end a little later
/// than its client.
async fn until(service: &Service, path: &str, as_expected: impl Fn(&Value) -> bool) -> Value {
    timeout(DEADLINE, async {
        loop {
            let (status, text) = service.ops_get(path).await;
            assert_eq!(status, 200, "{text}");
            let answer: Value = serde_json::from_str(&text).unwrap();
            if as_expected(&answer) {
                return answer;
            }
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{path} never answered as expected"))
}

fn find<'a>(listing: &'a Value, request_id: &str) -> Option<&'a Value> {
    let requests = listing["requests"].as_array().unwrap();
    requests
        .iter()
        .find(|request| request["request_id"] == request_id)
}
