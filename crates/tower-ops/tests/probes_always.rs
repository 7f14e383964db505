//! A thousand probes, one every 10 ms, during all that has ever kept one from its answer.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy exempts the tests themselves, not their helpers; and how quick it was"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use axum::Router;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType, connect, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tower_ops::Ops;
use tower_ops_testing::free_addr;

const TOKEN: &str = "a-token-of-more-than-16-characters";
/// As long as a kubelet waits.
const PROBE: Duration = Duration::from_secs(1);
const PROBES: usize = 1_000;
/// The endpoint is there for as long: more than all probes take.
const PRE_DRAIN: Duration = Duration::from_secs(15);

/// Sockets that were made before there were no descriptors left.
fn sockets(count: usize) -> Vec<OwnedFd> {
    let one = |_| socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    (0..count).map(one).collect()
}

fn probe(socket: OwnedFd, addr: SocketAddr, path: &str) -> Result<Duration, String> {
    let began = Instant::now();
    for timeout in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(&socket, timeout, Some(PROBE)).unwrap();
    }
    connect(&socket, &addr).map_err(|error| format!("connecting: {error}"))?;
    let mut client = TcpStream::from(socket);
    let request = format!("GET {path} HTTP/1.1\r\nHost: 10.0.0.1:8080\r\n\r\n");
    client
        .write_all(request.as_bytes())
        .map_err(|error| error.to_string())?;
    let mut answer = String::new();
    client
        .read_to_string(&mut answer)
        .map_err(|error| format!("{error} after {:?}", began.elapsed()))?;
    let took = began.elapsed();
    if !answer.starts_with("HTTP/1.1 200") || took > PROBE {
        return Err(format!("{took:?}: {answer}"));
    }
    Ok(took)
}

/// Probes for liveness, a thousand at one every 10 ms.
fn probes(addr: SocketAddr, during: &str, sockets: Vec<OwnedFd>) {
    let began = Instant::now();
    let mut times = Vec::new();
    for (nth, socket) in (0_u32..).zip(sockets) {
        let due = began + nth * Duration::from_millis(10);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let took = probe(socket, addr, "/health");
        times.push(took.unwrap_or_else(|error| panic!("{during}, probe {nth}: {error}")));
    }
    times.sort();
    println!(
        "{during}: median {:?}, slowest {:?}",
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

fn ask(addr: SocketAddr, request: &str) -> Vec<u8> {
    let mut client = TcpStream::connect(addr).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    answer
}

#[test]
#[ignore = "takes a minute, and all descriptors; scripts/test runs it in release"]
fn a_thousand_probes_during_all_that_can_be() {
    let limit = getrlimit(Resource::Nofile);
    let current = Some(4_096.min(limit.maximum.unwrap_or(u64::MAX)));
    setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
    let addr = free_addr();
    let text = vec!["x".repeat(1_000); 100_000];
    let ops = Ops::builder("orders")
        .private_recorder()
        .ops_addr(addr.to_string())
        .lifecycle(|life| {
            life.pre_drain(PRE_DRAIN)
                .drain_timeout(Duration::from_secs(5))
                .signals(false)
        })
        .health(|health| health.stalled_after(Duration::from_secs(600)))
        .state(move |state| {
            state
                .token(TOKEN)
                .max_size(1 << 30)
                .single(move || text.clone(), |_: Vec<String>| Ok(()))
        })
        .build()
        .unwrap();
    let recorder = ops.prometheus().unwrap().recorder().unwrap();
    for series in 0..10_000_u32 {
        let label = metrics::Label::new("series", format!("{series:0>60}"));
        let key = metrics::Key::from_parts("something_to_render_total", vec![label]);
        let metadata = metrics::Metadata::new("", metrics::Level::INFO, None);
        recorder.register_counter(&key, &metadata).increment(1);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let serving = runtime.spawn({
        let ops = ops.clone();
        async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            ops.serve(listener, Router::new()).await.unwrap()
        }
    });
    let began = Instant::now();
    while TcpStream::connect(addr).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(5));
    }
    let page = ask(addr, "GET /metrics HTTP/1.0\r\n\r\n");
    assert!(page.len() > 1_000_000, "{}", page.len());

    let idle: Vec<_> = (0..600)
        .map(|_| TcpStream::connect(addr).unwrap())
        .collect();
    probes(addr, "600 idle connections", sockets(PROBES));
    drop(idle);

    let own = sockets(PROBES);
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    probes(addr, "no descriptors left", own);
    drop(taken);

    let stop = Arc::new(AtomicBool::new(false));
    let scrapers: Vec<_> = (0..100)
        .map(|_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    ask(addr, "GET /metrics HTTP/1.0\r\n\r\n");
                }
            })
        })
        .collect();
    probes(addr, "100 scrapes at once", sockets(PROBES));
    stop.store(true, Ordering::Relaxed);
    scrapers
        .into_iter()
        .for_each(|scraper| scraper.join().unwrap());

    let capture = format!("GET /state HTTP/1.0\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    let stop = Arc::new(AtomicBool::new(false));
    let capturing = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            // At least one, and the next one for as long as there are probes.
            let mut captures = 0;
            while captures == 0 || !stop.load(Ordering::Relaxed) {
                assert!(ask(addr, &capture).len() > 100_000_000);
                captures += 1;
            }
            captures
        }
    });
    probes(addr, "captures of 100 MiB", sockets(PROBES));
    stop.store(true, Ordering::Relaxed);
    println!("{} captures", capturing.join().unwrap());

    let stop = Arc::new(AtomicBool::new(false));
    for _ in 0..2 {
        let stop = Arc::clone(&stop);
        runtime.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                // Blocks a worker, on purpose.
                thread::sleep(Duration::from_millis(5));
            }
        });
    }
    probes(addr, "a blocked runtime", sockets(PROBES));
    stop.store(true, Ordering::Relaxed);

    assert!(ops.lifecycle().shutdown());
    probes(addr, "a drain", sockets(PROBES));
    let _ = runtime.block_on(serving);
    setrlimit(Resource::Nofile, limit).unwrap();
}
