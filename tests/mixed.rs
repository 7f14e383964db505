//! 10,000 mixed requests against the playground, a third of them cut by the
//! client at random moments: every one of them is counted once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use tokio::task::JoinSet;
use tower_ops_tests::Service;
use tower_ops_tests::mix::{Random, Sent, http1, http2};

const REQUESTS: usize = 10_000;
const CLIENTS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_mixed_requests_are_all_counted_once() {
    let service = Service::start("playground").await;
    let addr = service.app();
    let mut clients = JoinSet::new();
    for seed in 0..CLIENTS {
        clients.spawn(async move {
            let mut random = Random::new(seed);
            if seed % 2 == 0 {
                http1(addr, REQUESTS / CLIENTS, &mut random).await
            } else {
                http2(addr, REQUESTS / CLIENTS, &mut random).await
            }
        });
    }
    let mut sent = Sent::default();
    while let Some(of_one) = clients.join_next().await {
        sent.add(of_one.unwrap());
    }
    assert_eq!(sent.total(), REQUESTS);
    eprintln!("{sent:?}");

    let samples = service.scrape_idle().await;
    let total = |labels: &[(&str, &str)]| count(samples.sum("server_requests_total", labels));
    let outcome = |name| total(&[("outcome", name)]);

    assert_eq!(total(&[]), REQUESTS);
    assert_eq!(samples.sum("server_in_flight_requests", &[]).to_bits(), 0);
    assert_eq!(samples.sum("http_server_active_requests", &[]).to_bits(), 0);
    assert_eq!(
        count(samples.sum("http_server_request_duration_seconds_count", &[])),
        REQUESTS
    );

    // What was not cut ended as it had to; what was cut, either way.
    let cancelled = outcome("cancelled_before_head") + outcome("cancelled_during_body");
    let completed = outcome("completed");
    let panicked = outcome("panicked");
    let body_failed = outcome("body_failed");
    assert_eq!(completed + panicked + body_failed + cancelled, REQUESTS);
    assert!((sent.completed..=sent.completed + sent.cut).contains(&completed));
    assert!((sent.panicked..=sent.panicked + sent.cut).contains(&panicked));
    assert!((sent.body_failed..=sent.body_failed + sent.cut).contains(&body_failed));
    // Most cuts come while there is still something to cut.
    assert!(
        (sent.cut / 4..=sent.cut).contains(&cancelled),
        "{cancelled} of {}",
        sent.cut
    );
    assert!(outcome("cancelled_before_head") > 0 && outcome("cancelled_during_body") > 0);

    for version in ["1.1", "2"] {
        let of_version = count(samples.sum(
            "http_server_request_duration_seconds_count",
            &[("network_protocol_version", version)],
        ));
        assert_eq!(of_version, REQUESTS / 2, "HTTP/{version}");
    }
    eprintln!(
        "sent {REQUESTS}: completed {completed}, panicked {panicked}, body_failed {body_failed}, \
         cancelled_before_head {}, cancelled_during_body {}; in flight 0",
        outcome("cancelled_before_head"),
        outcome("cancelled_during_body"),
    );
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count"
)]
fn count(value: f64) -> usize {
    value as usize
}
