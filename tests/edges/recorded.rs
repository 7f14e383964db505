//! What is recorded is what happened.

use std::time::Duration;

use tokio::time::sleep;
use tower_ops_testing::RawHttp1;
use tower_ops_tests::{Protocol, Samples, Service};

const MILLI: Duration = Duration::from_millis(1);
const BYTES: &str = "http_server_request_body_size_bytes_sum";

/// Waits until that many requests have ended.
async fn ended(service: &Service, requests: usize) -> Samples {
    for _ in 0..200 {
        let samples = service.scrape_idle().await;
        if samples.count("server_requests_total", &[]) == requests {
            return samples;
        }
        sleep(20 * MILLI).await;
    }
    panic!("not {requests} requests");
}

fn classes(samples: &Samples) -> Vec<(&'static str, usize)> {
    const CLASSES: [&str; 5] = [
        "success",
        "client_error",
        "server_error",
        "timeout",
        "cancelled",
    ];
    let count = |class| samples.count("server_requests_total", &[("class", class)]);
    let all = CLASSES.map(|class| (class, count(class)));
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

#[tokio::test]
async fn an_announced_size_is_no_measured_one() {
    let service = Service::start("playground").await;
    for method in ["GET", "POST", "DELETE"] {
        let mut client = RawHttp1::connect(service.app()).await.unwrap();
        let head = format!(
            "{method} / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000000000000\r\n\r\n"
        );
        client.send(head).await.unwrap();
        client.read_head().await.unwrap();
    }
    let body = "twelve bytes";
    for protocol in Protocol::ALL {
        let answer = protocol
            .ask(service.app(), "POST", "/echo", &[], body)
            .await;
        assert_eq!(answer.unwrap().text(), body);
    }
    let samples = ended(&service, 5).await;
    assert_eq!(samples.count(BYTES, &[]), 24);
}

#[tokio::test]
async fn a_short_response_is_no_success() {
    let service = Service::start("playground").await;
    for protocol in Protocol::ALL {
        let answer = protocol
            .ask(service.app(), "GET", "/short/1000/10", &[], "")
            .await;
        assert!(answer.is_err(), "{protocol:?}: {answer:?}");
    }
    assert_eq!(classes(&ended(&service, 2).await), [("server_error", 2)]);
}

#[tokio::test]
async fn a_client_that_leaves_in_its_upload_has_cancelled() {
    let service = Service::start("playground").await;
    let half = "POST /think/0 HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf of it";
    let broken = "POST /think/0 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel";
    for (place, request) in [half, broken].into_iter().enumerate() {
        let mut client = RawHttp1::connect(service.app()).await.unwrap();
        client.send(request).await.unwrap();
        sleep(100 * MILLI).await;
        if place == 0 {
            client.reset();
        } else {
            drop(client);
        }
    }
    assert_eq!(classes(&ended(&service, 2).await), [("cancelled", 2)]);
}

#[tokio::test]
async fn a_caught_panic_is_a_panic() {
    let service = Service::start_with("playground", &[("CATCH_PANIC", "1")]).await;
    for protocol in Protocol::ALL {
        let answer = protocol.ask(service.app(), "GET", "/panic", &[], "").await;
        assert_eq!(answer.unwrap().status, 500);
    }
    let samples = ended(&service, 2).await;
    assert_eq!(samples.ended("panicked"), 2);
    assert_eq!(classes(&samples), [("server_error", 2)]);
}
