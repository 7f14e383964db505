//! Who means well is answered: whatever the limits, and in the middle of a drain.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower_ops_testing::RawHttp1;
use tower_ops_tests::Service;

const MILLI: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_handler_that_works_while_the_body_waits_is_no_stall_of_the_client() {
    let service = Service::start_with("playground", &[("STALL_MS", "1000")]).await;
    let mut client = RawHttp1::connect(service.app()).await.unwrap();
    let client = &mut client;
    for body_after in [0, 50, 700, 0] {
        let head = "POST /think/3000 HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n";
        client.send(head).await.unwrap();
        sleep(body_after * MILLI).await;
        client.send("hello").await.unwrap();
        let head = client.read_head().await.unwrap();
        assert_eq!(head.status, 200, "body after {body_after} ms");
        let body = client.read_body(&head).await.unwrap();
        assert!(body.data.starts_with(b"5"), "{:?}", body.data);
    }
}

#[tokio::test]
async fn a_body_that_trickles_without_a_pause_is_innocent() {
    let service = Service::start_with("playground", &[("STALL_MS", "1000")]).await;
    let mut client = RawHttp1::connect(service.app()).await.unwrap();
    let head = "POST /think/0 HTTP/1.1\r\nhost: x\r\ncontent-length: 12\r\n\r\n";
    client.send(head).await.unwrap();
    for _ in 0..12 {
        sleep(300 * MILLI).await;
        client.send("x").await.unwrap();
    }
    assert_eq!(client.read_head().await.unwrap().status, 200);
}

#[tokio::test]
async fn a_client_that_stops_sending_is_a_stall() {
    let service = Service::start_with("playground", &[("STALL_MS", "1000")]).await;
    let mut client = RawHttp1::connect(service.app()).await.unwrap();
    let head = "POST /think/0 HTTP/1.1\r\nhost: x\r\ncontent-length: 12\r\n\r\nsome";
    client.send(head).await.unwrap();
    let began = Instant::now();
    while client.read_some().await.is_ok_and(|some| !some.is_empty()) {}
    let took = began.elapsed();
    assert!(took >= 900 * MILLI && took < 8_000 * MILLI, "{took:?}");
}

/// What a polite client got: it opens another connection only after `connection: close`.
#[derive(Default)]
struct Polite {
    answered: usize,
    lost: Vec<String>,
    refused: bool,
}

/// Asks every `pause` until nobody listens any more, or `until`.
async fn polite(addr: SocketAddr, method: &str, pause: Duration, until: Instant) -> Polite {
    let mut felt = Polite::default();
    let mut kept: Option<RawHttp1> = None;
    while Instant::now() < until {
        let mut client = match kept.take() {
            Some(client) => client,
            None => match RawHttp1::connect(addr).await {
                Ok(client) => client,
                Err(_) => {
                    felt.refused = true;
                    return felt;
                }
            },
        };
        let asked = async {
            client.send_request(method, "/echo", &[], "polite").await?;
            let head = client.read_head().await?;
            client.read_body(&head).await?;
            Ok::<_, std::io::Error>(head)
        };
        match asked.await {
            Ok(head) => {
                felt.answered += 1;
                let closes = head.headers.get("connection");
                if closes.is_none_or(|value| value != "close") {
                    kept = Some(client);
                }
            }
            Err(error) => felt.lost.push(error.to_string()),
        }
        sleep(pause).await;
    }
    felt
}

#[tokio::test]
async fn the_maximum_age_loses_no_request_of_a_polite_client() {
    let service = Service::start_with("playground", &[("MAX_AGE_MS", "300")]).await;
    let until = Instant::now() + 5_000 * MILLI;
    let mut clients = JoinSet::new();
    for pause in [20, 50, 200, 450] {
        clients.spawn(polite(service.app(), "POST", pause * MILLI, until));
    }
    for felt in clients.join_all().await {
        assert_eq!(felt.lost, [""; 0], "of {} answered", felt.answered);
    }
    let metrics = service.scrape_idle().await;
    let old = [("reason", "max_age")];
    let closed = metrics.count("server_connections_closed_total", &old);
    let closed = closed
        + metrics.count(
            "server_connections_closed_total",
            &[("reason", "server_closed")],
        );
    assert!(closed >= 4, "the limit did its work: {closed}");
}

#[tokio::test]
async fn a_drain_without_a_pre_drain_loses_no_request_of_a_polite_client() {
    let mut service = Service::start_with("playground", &[("PRE_DRAIN_MS", "0")]).await;
    let until = Instant::now() + LONG;
    let mut clients = JoinSet::new();
    for client in 0..24 {
        let pause = [50, 200, 350, 500][client % 4];
        clients.spawn(polite(service.app(), "POST", pause * MILLI, until));
    }
    sleep(1_200 * MILLI).await;
    service.process().terminate().unwrap();
    for felt in clients.join_all().await {
        // A connection that is opened after the listener was closed may be reset by the kernel;
        // none of the requests on one that was accepted may be lost.
        assert_eq!(felt.lost, [""; 0], "of {} answered", felt.answered);
        assert!(felt.refused, "the listener was closed");
    }
    assert!(service.process().wait_exit(LONG).await.success());
}

#[tokio::test]
async fn who_was_accepted_just_before_the_drain_is_answered() {
    let mut service = Service::start_with("playground", &[("PRE_DRAIN_MS", "0")]).await;
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(RawHttp1::connect(service.app()).await.unwrap());
    }
    sleep(20 * MILLI).await;
    service.process().terminate().unwrap();
    // A request that comes before the signal is handled is answered as ever.
    let handled = async {
        while service.ops_get("/ready").await.0 == 200 {
            sleep(MILLI).await;
        }
    };
    timeout(LONG, handled).await.unwrap();
    let mut answers = JoinSet::new();
    for (place, mut client) in clients.into_iter().enumerate() {
        answers.spawn(async move {
            sleep(u32::try_from(place).unwrap() * 11 * MILLI).await;
            client.send_request("GET", "/", &[], "").await.unwrap();
            let head = client.read_head().await.unwrap();
            assert_eq!(head.status, 200);
            assert_eq!(head.headers["connection"], "close");
        });
    }
    answers.join_all().await;
    let status = service.process().wait_exit(LONG).await;
    let output = service.process().output().join("\n");
    assert!(status.success() && output.contains("clean"), "{output}");
}
