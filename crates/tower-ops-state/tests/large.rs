//! 100 MiB are captured while the service goes on. What is measured is of use only in a
//! release build:
//!
//! ```text
//! cargo test --release -p tower-ops-state --all-features --test large -- --ignored --nocapture
//! ```
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use peak_alloc::PeakAlloc;
use tokio::time::{Instant, sleep};
use tower::service_fn;
use tower_ops_state::{Participant, Refusal, State};
use tower_ops_testing::{RawHttp1, Server};

use self::client::{AUTH, TOKEN};

#[allow(dead_code, reason = "only the token")]
#[path = "support/client.rs"]
mod client;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const MIB: usize = 1024 * 1024;
const SIZE: usize = 100 * MIB;
const SHARDS: usize = 64;
const ITEM: usize = 1000;

/// In parts with a lock each, so that no request waits until all of it is copied.
struct Store {
    shards: Vec<Mutex<Vec<String>>>,
}

impl Store {
    fn new() -> Self {
        let count = SIZE / SHARDS / (ITEM + size_of::<String>());
        let shard = |at: usize| {
            // What costs a compressor some thought.
            let mut random = 0x2545_f491_4f6c_dd1d ^ at as u64;
            let mut item = |_| {
                let mut text = String::with_capacity(ITEM);
                while text.len() < ITEM {
                    random ^= random << 13_u32;
                    random ^= random >> 7_u32;
                    random ^= random << 17_u32;
                    text.push(char::from(
                        b"0123456789abcdefghijklmnopqrstuv"[random as usize % 32],
                    ));
                }
                text
            };
            Mutex::new((0..count).map(&mut item).collect())
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
        }
    }
}

struct Items(Arc<Store>);

impl Participant for Items {
    type Data = Vec<Vec<String>>;

    fn name(&self) -> &str {
        "items"
    }

    fn version(&self) -> u32 {
        1
    }

    async fn capture(&self) -> Result<Self::Data, Refusal> {
        let shards = self.0.shards.iter();
        Ok(shards.map(|shard| shard.lock().unwrap().clone()).collect())
    }

    async fn commit(&self, data: Self::Data) -> Result<(), Refusal> {
        for (shard, items) in self.0.shards.iter().zip(data) {
            *shard.lock().unwrap() = items;
        }
        Ok(())
    }
}

/// Takes all of it and keeps nothing.
async fn take(addr: SocketAddr, encoding: &str) -> usize {
    let mut client = RawHttp1::connect(addr)
        .await
        .unwrap()
        .with_deadline(Duration::from_secs(60));
    let headers = [AUTH, ("accept-encoding", encoding), ("connection", "close")];
    client.send_request("GET", "/", &headers, "").await.unwrap();
    assert_eq!(client.read_head().await.unwrap().status, 200);
    let mut taken = 0;
    loop {
        let some = client.read_some().await.unwrap();
        if some.is_empty() {
            return taken;
        }
        taken += some.len();
    }
}

/// Asks the service, a thousand times a second, until `is_over`.
async fn ask(addr: SocketAddr, is_over: Arc<Mutex<bool>>) -> Vec<Duration> {
    let mut client = RawHttp1::connect(addr).await.unwrap();
    let mut took = Vec::with_capacity(100_000);
    while !*is_over.lock().unwrap() {
        let since = Instant::now();
        client.send_request("GET", "/", &[], "").await.unwrap();
        let head = client.read_head().await.unwrap();
        client.read_body(&head).await.unwrap();
        took.push(since.elapsed());
        sleep(Duration::from_millis(1)).await;
    }
    took.sort_unstable();
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, which takes a release build; scripts/test runs it"]
async fn capturing_100_mib_does_not_disturb_the_service() {
    let before = ALLOCATOR.current_usage();
    let store = Arc::new(Store::new());
    let size = ALLOCATOR.current_usage() - before;
    let state = State::builder("large", "1")
        .participant(Items(Arc::clone(&store)))
        .token(TOKEN)
        .max_size(2 * SIZE)
        .build()
        .unwrap();
    let server = Server::spawn(state.service()).await;
    let service = Server::spawn(service_fn(move |_: Request<_>| {
        let item = store.shards[7].lock().unwrap()[11].clone();
        async move { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(item))) }
    }))
    .await;

    // The same while nothing is captured: what the machine costs.
    let is_over = Arc::new(Mutex::new(false));
    let asking = tokio::spawn(ask(service.addr(), Arc::clone(&is_over)));
    sleep(Duration::from_secs(1)).await;
    *is_over.lock().unwrap() = true;
    let alone = asking.await.unwrap();
    let alone = alone[alone.len() * 99 / 100];
    let limit = Duration::from_millis(20).max(5 * alone);

    for encoding in ["identity", "gzip"] {
        let is_over = Arc::new(Mutex::new(false));
        let asking = tokio::spawn(ask(service.addr(), Arc::clone(&is_over)));
        sleep(Duration::from_millis(100)).await;
        let held = ALLOCATOR.current_usage() - size;
        ALLOCATOR.reset_peak_usage();
        let since = Instant::now();
        let taken = take(server.addr(), encoding).await;
        let elapsed = since.elapsed();
        let peak = ALLOCATOR.peak_usage() - held;
        *is_over.lock().unwrap() = true;
        let took = asking.await.unwrap();
        let p99 = took[took.len() * 99 / 100];
        let times = peak as f64 / size as f64;
        eprintln!(
            "{encoding}: {} MiB of state, {} MiB sent in {elapsed:.2?}; peak {times:.2} times the \
             state; {} requests meanwhile, p50 {:.2?}, p99 {p99:.2?}, slowest {:.2?}",
            size / MIB,
            taken / MIB,
            took.len(),
            took[took.len() / 2],
            took[took.len() - 1],
        );
        assert!(took.len() > 100);
        assert!(p99 < limit, "{p99:?}, and {alone:?} without");
        assert!(times <= 2.2, "{times}");
    }
}
