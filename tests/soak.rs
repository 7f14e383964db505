//! The playground under everything at once, for long: HTTP/1.1 and HTTP/2 with a third of the
//! requests cut, WebSockets, gRPC, and clients that mean harm. Then nothing may be left: no
//! request, no connection, no descriptor, and no more memory than early on.
//!
//! ```text
//! cargo build --release -p tower-ops-examples --example playground
//! SOAK_SECONDS=600 cargo test --release -p tower-ops-tests --test soak -- --ignored --nocapture
//! ```
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower_ops_testing::{RawHttp1, RawHttp2};
use tower_ops_tests::Service;
use tower_ops_tests::mix::{Random, Sent, http1, http2};

const MILLI: Duration = Duration::from_millis(1);
/// The limits of the service, so short that each of them closes something now and then.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("IDLE_MS", "3000"),
    ("MAX_AGE_MS", "20000"),
    ("STALL_MS", "2000"),
    ("RUST_LOG", "off"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes SOAK_SECONDS, ten minutes unless set; scripts/test runs one of them"]
async fn nothing_is_left_after_a_long_mixed_load() {
    let seconds = env::var("SOAK_SECONDS").map_or(600, |text| text.parse().unwrap());
    let mut service = Service::start_with("playground", &ENVIRONMENT).await;
    let (addr, pid) = (service.app(), service.process().id());
    service.get("/", &[]).await;
    service.scrape().await;
    let at_first = descriptors(pid);
    let until = Instant::now() + Duration::from_secs(seconds);

    let mut clients = JoinSet::new();
    for seed in 0..8 {
        clients.spawn(mixed(addr, seed, until));
    }
    let mut others = JoinSet::new();
    for seed in 0..3 {
        others.spawn(websockets(addr, until));
        others.spawn(calls(addr, until));
        others.spawn(harm(addr, seed, until));
    }

    println!("  after   memory  descriptors  requests");
    let began = Instant::now();
    let (mut early, mut late) = (0, 0);
    while Instant::now() < until {
        sleep(Duration::from_secs((seconds / 20).clamp(1, 30))).await;
        let memory = resident(pid);
        let metrics = service.scrape().await;
        println!(
            "{:>5} s  {memory:>6} K  {:>11}  {:>8}",
            began.elapsed().as_secs(),
            descriptors(pid),
            metrics.count("server_requests_total", &[]),
        );
        // Pools, histories and the allocator fill in the first third.
        if began.elapsed() < Duration::from_secs(seconds) / 3 {
            early = early.max(memory);
        }
        late = memory;
    }
    let mut sent = Sent::default();
    for of_one in clients.join_all().await {
        sent.add(of_one);
    }
    others.join_all().await;
    println!("{sent:?}");

    let metrics = left(&service).await;
    for gauge in [
        "server_in_flight_requests",
        "http_server_active_requests",
        "server_active_connections",
        "server_idle_connections",
    ] {
        assert_eq!(metrics.count(gauge, &[]), 0, "{gauge}");
    }
    let opened = metrics.count("server_connections_total", &[]);
    let closed = metrics.count("server_connections_closed_total", &[]);
    assert_eq!(opened, closed, "every connection was closed once");
    assert!(metrics.count("server_requests_total", &[]) >= sent.total());
    // A scrape's own connection may still be open, before as well as after.
    let at_last = descriptors(pid);
    assert!(
        at_last <= at_first + 2,
        "descriptors: {at_first}, then {at_last}"
    );
    let allowed = early + early / 10 + 8 * 1024;
    assert!(late <= allowed, "{early} KiB early, {late} KiB late");
    println!(
        "{opened} connections, {} requests; in flight 0; {early} KiB early, {late} KiB late",
        metrics.count("server_requests_total", &[])
    );
}

/// Scrapes `/metrics` once all connections are gone.
async fn left(service: &Service) -> tower_ops_tests::Samples {
    for _ in 0..300 {
        let metrics = service.scrape().await;
        let open = metrics.count("server_active_connections", &[])
            + metrics.count("server_idle_connections", &[]);
        if open == 0 {
            // A scrape reads counters before gauges; the next one has them all.
            return service.scrape().await;
        }
        sleep(100 * MILLI).await;
    }
    service.scrape().await
}

async fn mixed(addr: SocketAddr, seed: usize, until: Instant) -> Sent {
    let mut random = Random::new(seed);
    let mut sent = Sent::default();
    while Instant::now() < until {
        let some = if seed.is_multiple_of(2) {
            http1(addr, 50, &mut random).await
        } else {
            http2(addr, 50, &mut random).await
        };
        sent.add(some);
    }
    sent
}

/// Opens WebSockets, echoes a little, and leaves in one of three ways.
async fn websockets(addr: SocketAddr, until: Instant) {
    const UPGRADE: &str = "GET /ws HTTP/1.1\r\nhost: it\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    const MASKED: &[u8] = b"\x81\x85\0\0\0\0hello";
    const CLOSE: &[u8] = b"\x88\x80\0\0\0\0";
    for round in 0_u64.. {
        if Instant::now() >= until {
            return;
        }
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(UPGRADE.as_bytes()).await.unwrap();
        for _ in 0..5 {
            let mut some = [0; 1024];
            let read = timeout(Duration::from_secs(10), stream.read(&mut some)).await;
            if !matches!(read, Ok(Ok(1..))) || stream.write_all(MASKED).await.is_err() {
                break;
            }
            sleep(20 * MILLI).await;
        }
        match round % 3 {
            0 => {
                let _ = stream.write_all(CLOSE).await;
                let _ = timeout(5_000 * MILLI, stream.read_to_end(&mut Vec::new())).await;
            }
            1 => drop(stream),
            _ => {
                // Silent: the idle limit closes it.
                let _ = timeout(8_000 * MILLI, stream.read_to_end(&mut Vec::new())).await;
            }
        }
    }
}

/// Calls gRPC, unary and streams that are dropped.
async fn calls(addr: SocketAddr, until: Instant) {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
    while Instant::now() < until {
        let Ok(channel) = endpoint.connect().await else {
            continue;
        };
        let mut client = HealthClient::new(channel);
        for round in 0..50 {
            let overall = HealthCheckRequest::default();
            if round % 5 == 0 {
                if let Ok(watch) = client.watch(overall).await {
                    let mut watch = watch.into_inner();
                    let _ = timeout(50 * MILLI, watch.message()).await;
                }
            } else {
                // A connection may be closed for its age between two calls.
                let _ = client.check(overall).await;
            }
        }
    }
}

/// Half a head, half an upload, no reader, a closed window, silence: until it is closed, or a
/// while.
async fn harm(addr: SocketAddr, seed: usize, until: Instant) {
    const SOME: Duration = Duration::from_secs(4);
    let mut random = Random::new(100 + seed);
    while Instant::now() < until {
        let kind = random.below(6);
        if kind == 5 {
            let window = [(4, 0)];
            let mut client = RawHttp2::connect(addr, &window).await.unwrap();
            for stream in 0..20 {
                let _ = client.get(2 * stream + 1, "/stream/1000/0").await;
            }
            let closed = async { while client.next().await.is_some() {} };
            let _ = timeout(SOME, closed).await;
            continue;
        }
        let mut client = RawHttp1::connect(addr).await.unwrap();
        let messages = [
            "GET / HTTP/1.1\r\nhost: it\r\nx-half: ",
            "POST /echo HTTP/1.1\r\nhost: it\r\ncontent-length: 100\r\n\r\nhalf",
            "GET /stream/1000000/0 HTTP/1.1\r\nhost: it\r\n\r\n",
            "PRI * HTTP/2.0\r\n",
            "",
        ];
        let _ = client.send(messages[kind]).await;
        if kind == 2 {
            sleep(SOME).await;
        } else {
            let closed =
                async { while client.read_some().await.is_ok_and(|some| !some.is_empty()) {} };
            let _ = timeout(SOME, closed).await;
        }
        if random.below(2) == 0 {
            client.reset();
        }
    }
}

fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
