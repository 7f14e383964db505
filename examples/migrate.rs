//! A service moves to another process under load: the second instance takes over counters and
//! a job queue from the first, and nothing is lost or doubled.
//!
//! ```text
//! cargo run --example migrate
//! ```
//!
//! Two instances of one service, each on a port of its own, and four clients that write to the
//! first one. After half a second the second one takes over:
//!
//! 1. `GET /state?fence=1` closes the first one's fence, waits for the writes that have begun,
//!    captures, and from then on the first one answers writes with 503;
//! 2. `POST /state` gives the envelope to the second one, which is ready only then;
//! 3. a client that gets 503 goes to the other instance, and tries again.
//!
//! Both are processes of their own in real life, and `curl` does 1 and 2:
//!
//! ```text
//! $ curl -sf -H "authorization: Bearer $TOKEN" 'http://first:3000/state?fence=1' |
//!     curl -sf -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \
//!       --data-binary @- http://second:3000/state
//! ```
//!
//! It prints, with other numbers each time:
//!
//! ```text
//! four clients write to http://127.0.0.1:37431
//! the second instance, on http://127.0.0.1:45097, takes over
//!   9 KiB of generation 1, in 2.3 ms
//! counter red        acknowledged   771   the second instance has   771
//! counter green      acknowledged   771   the second instance has   771
//! jobs               acknowledged   769   done once   769   not at all     0   twice     0
//! the first instance refused 4 writes after the hand-over, and did none
//! nothing was lost, nothing was doubled
//! ```
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State as Shared};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing::get, routing::post};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tower_ops_state::{Fence, Participant, Refusal, State};

const TOKEN: &str = "an-example-token-of-32-characters";
const COLORS: [&str; 2] = ["red", "green"];
const CLIENTS: u64 = 4;
/// How long the last jobs may take; what is not done then is lost.
const PATIENCE: Duration = Duration::from_secs(5);

type BoxError = Box<dyn Error + Send + Sync>;
type Http = Client<HttpConnector, Body>;

/// What a service has in memory, and would lose.
#[derive(Default)]
struct Shop {
    counters: Mutex<BTreeMap<String, u64>>,
    jobs: Mutex<Jobs>,
    is_ready: AtomicBool,
}

#[derive(Clone, Default, Deserialize, Serialize)]
struct Jobs {
    waiting: VecDeque<u64>,
    /// How often each was done.
    done: BTreeMap<u64, u32>,
}

struct Counters(Arc<Shop>);

impl Participant for Counters {
    type Data = BTreeMap<String, u64>;

    fn name(&self) -> &'static str {
        "counters"
    }

    fn version(&self) -> u32 {
        1
    }

    async fn capture(&self) -> Result<Self::Data, Refusal> {
        Ok(lock(&self.0.counters).clone())
    }

    async fn commit(&self, data: Self::Data) -> Result<(), Refusal> {
        *lock(&self.0.counters) = data;
        Ok(())
    }
}

struct Queue(Arc<Shop>);

impl Participant for Queue {
    type Data = Jobs;

    fn name(&self) -> &'static str {
        "jobs"
    }

    fn version(&self) -> u32 {
        1
    }

    async fn capture(&self) -> Result<Jobs, Refusal> {
        Ok(lock(&self.0.jobs).clone())
    }

    async fn prepare(&self, data: &Jobs) -> Result<(), Refusal> {
        match data.waiting.iter().find(|job| data.done.contains_key(job)) {
            Some(job) => Err(Refusal::new(format!("job {job} is waiting and done"))),
            None => Ok(()),
        }
    }

    async fn commit(&self, data: Jobs) -> Result<(), Refusal> {
        *lock(&self.0.jobs) = data;
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Instance {
    addr: SocketAddr,
    shop: Arc<Shop>,
}

impl Instance {
    /// The first one begins with nothing, the others with what they are given.
    async fn start(is_first: bool) -> Result<Self, BoxError> {
        let shop = Arc::new(Shop::default());
        shop.is_ready.store(is_first, Ordering::Release);
        let (before, after) = (Arc::clone(&shop), Arc::clone(&shop));
        let state = State::builder("shop", env!("CARGO_PKG_VERSION"))
            .participant(Counters(Arc::clone(&shop)))
            .participant(Queue(Arc::clone(&shop)))
            .token(TOKEN)
            .restore_when(move || !before.is_ready.load(Ordering::Acquire))
            .on_restored(move || after.is_ready.store(true, Ordering::Release))
            .build()?;

        let writes = Router::new()
            .route("/counters/{name}", post(count))
            .route("/jobs/{id}", post(enqueue))
            .layer(state.fence().layer())
            .layer(from_fn_with_state(Arc::clone(&shop), when_ready));
        let app = Router::new()
            .route("/counters", get(counters))
            .merge(writes)
            .with_state(Arc::clone(&shop))
            .route_service("/state", state.service());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        tokio::spawn(work(Arc::clone(&shop), state.fence()));
        tokio::spawn(async { axum::serve(listener, app).await });
        Ok(Self { addr, shop })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }
}

async fn when_ready(Shared(shop): Shared<Arc<Shop>>, request: Request, next: Next) -> Response {
    if shop.is_ready.load(Ordering::Acquire) {
        next.run(request).await
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

async fn count(Shared(shop): Shared<Arc<Shop>>, Path(name): Path<String>) -> String {
    let mut counters = lock(&shop.counters);
    let counter = counters.entry(name).or_default();
    *counter += 1;
    format!("{counter}\n")
}

async fn counters(Shared(shop): Shared<Arc<Shop>>) -> Json<BTreeMap<String, u64>> {
    Json(lock(&shop.counters).clone())
}

async fn enqueue(Shared(shop): Shared<Arc<Shop>>, Path(id): Path<u64>) -> StatusCode {
    lock(&shop.jobs).waiting.push_back(id);
    StatusCode::ACCEPTED
}

/// Does the jobs. Each is a write, from taking it to having it done: so a hand-over finds it
/// either waiting or done.
async fn work(shop: Arc<Shop>, fence: Fence) {
    loop {
        if shop.is_ready.load(Ordering::Acquire)
            && let Ok(_writing) = fence.enter()
        {
            let job = lock(&shop.jobs).waiting.pop_front();
            if let Some(job) = job {
                tokio::task::yield_now().await; // it does what there is to do
                *lock(&shop.jobs).done.entry(job).or_default() += 1;
                continue;
            }
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// What was acknowledged to the clients.
#[derive(Default)]
struct Acknowledged {
    counters: Mutex<BTreeMap<String, u64>>,
    jobs: Mutex<Vec<u64>>,
    refused: AtomicU64,
    is_over: AtomicBool,
}

/// Writes one after the other, and to the other instance when this one refuses.
async fn write(
    client: u64,
    hosts: [SocketAddr; 2],
    acknowledged: Arc<Acknowledged>,
) -> Result<(), BoxError> {
    let http = http();
    let mut host = 0;
    let mut written = 0;
    while !acknowledged.is_over.load(Ordering::Acquire) {
        let color = COLORS[usize::from(client % 2 == 1)];
        let job = written * CLIENTS + client;
        let path = if written % 2 == 0 {
            format!("/counters/{color}")
        } else {
            format!("/jobs/{job}")
        };
        let url = format!("http://{}{path}", hosts[host]);
        let (status, _) = ask(&http, Method::POST, &url, Body::empty()).await?;
        match status {
            StatusCode::OK => {
                *lock(&acknowledged.counters)
                    .entry(color.into())
                    .or_default() += 1
            }
            StatusCode::ACCEPTED => lock(&acknowledged.jobs).push(job),
            StatusCode::SERVICE_UNAVAILABLE => {
                if host == 0 {
                    acknowledged.refused.fetch_add(1, Ordering::Relaxed);
                }
                host = 1 - host;
                sleep(Duration::from_millis(1)).await;
                continue;
            }
            status => return Err(format!("{url}: {status}").into()),
        }
        written += 1;
        sleep(Duration::from_micros(500)).await;
    }
    Ok(())
}

fn http() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

async fn ask(
    http: &Http,
    method: Method,
    url: &str,
    body: Body,
) -> Result<(StatusCode, bytes::Bytes), BoxError> {
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
        .body(body)?;
    let response = http.request(request).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

/// What `curl | curl` does.
async fn take_over(first: &Instance, second: &Instance) -> Result<(), BoxError> {
    let http = http();
    let since = Instant::now();
    let (status, envelope) = ask(
        &http,
        Method::GET,
        &first.url("/state?fence=1"),
        Body::empty(),
    )
    .await?;
    if status != StatusCode::OK {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&envelope)).into());
    }
    let size = envelope.len().div_ceil(1024);
    let (status, answer) = ask(&http, Method::POST, &second.url("/state"), envelope.into()).await?;
    if status != StatusCode::OK {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&answer)).into());
    }
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    let (generation, took) = (&answer["generation"], since.elapsed().as_secs_f64() * 1e3);
    println!("  {size} KiB of generation {generation}, in {took:.1} ms");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let _flushed_at_the_end = tower_ops::logs::init();
    let first = Instance::start(true).await?;
    let second = Instance::start(false).await?;
    println!("four clients write to {}", first.url(""));
    let acknowledged = Arc::<Acknowledged>::default();
    let hosts = [first.addr, second.addr];
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(write(client, hosts, Arc::clone(&acknowledged))))
        .collect();
    sleep(Duration::from_millis(500)).await;

    println!("the second instance, on {}, takes over", second.url(""));
    take_over(&first, &second).await?;
    let left_behind = lock(&first.shop.counters).clone();

    sleep(Duration::from_millis(500)).await;
    acknowledged.is_over.store(true, Ordering::Release);
    for client in clients {
        client.await??;
    }
    let queued = lock(&acknowledged.jobs).len();
    let since = Instant::now();
    while lock(&second.shop.jobs).done.len() < queued && since.elapsed() < PATIENCE {
        sleep(Duration::from_millis(1)).await;
    }
    compare(&first, &second, &acknowledged, &left_behind)
}

fn compare(
    first: &Instance,
    second: &Instance,
    acknowledged: &Acknowledged,
    left_behind: &BTreeMap<String, u64>,
) -> Result<(), BoxError> {
    let mut is_right = true;
    for color in COLORS {
        let of = |counters: &Mutex<BTreeMap<String, u64>>| {
            lock(counters).get(color).copied().unwrap_or_default()
        };
        let (wanted, found) = (of(&acknowledged.counters), of(&second.shop.counters));
        is_right &= wanted == found && wanted > 0;
        let name = format!("counter {color}");
        println!("{name:<18} acknowledged {wanted:5}   the second instance has {found:5}");
    }
    let (wanted, jobs) = (lock(&acknowledged.jobs), lock(&second.shop.jobs));
    let once = jobs.done.values().filter(|times| **times == 1).count();
    let twice = jobs.done.len() - once;
    let lost = wanted.iter().filter(|job| !jobs.done.contains_key(job));
    let lost = lost.count();
    is_right &= once == wanted.len() && lost == 0 && twice == 0;
    println!(
        "jobs               acknowledged {:5}   done once {once:5}   not at all {lost:5}   \
         twice {twice:5}",
        wanted.len(),
    );
    let refused = acknowledged.refused.load(Ordering::Relaxed);
    is_right &= refused > 0 && *lock(&first.shop.counters) == *left_behind;
    println!("the first instance refused {refused} writes after the hand-over, and did none");
    if is_right {
        println!("nothing was lost, nothing was doubled");
        Ok(())
    } else {
        Err("something was lost, or doubled".into())
    }
}
