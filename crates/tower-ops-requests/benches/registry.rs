//! The registry and the history beside other crates' maps: `cargo bench -p tower-ops-requests
//! --features bench`.
//!
//! Prints a table for Markdown. Nanoseconds for each operation of each thread: the median of
//! several rounds, and their range. Every thread has 64 requests in flight, and takes the oldest
//! out for each one that it puts in.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_types,
    reason = "a program that prints, and that measures real time"
)]

use std::collections::{HashMap, VecDeque};
use std::hint::black_box;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Instant;

use http::{Request, Response};
use sharded_slab::Slab;
use tower::{Layer, Service, service_fn};
use tower_ops_observe::{Ending, Facts, Observe, ObserveLayer};
use tower_ops_requests::RequestTracker;
use tower_ops_requests::bench::{self, History, Record, Registry};

const ROUNDS: usize = 9;
const OPERATIONS: usize = 200_000;
const IN_FLIGHT: usize = 64;

fn main() {
    // `cargo test --benches` passes no such flag, and wants no minutes of measuring.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    registry();
    history();
    whole();
    listing();
}

fn registry() {
    println!("\n| registry: insert + remove, ns | 1 thread | 2 threads |\n|-|-|-|");
    row("nothing: the clone and the drop of an Arc", || {
        || in_and_out(|record| record.clone(), drop)
    });
    row("tower-ops-requests: slabs by thread", || {
        let registry = Registry::new();
        move || {
            let registry = &registry;
            in_and_out(|record| registry.insert(record), |key| registry.remove(key))
        }
    });
    row("sharded-slab", || {
        let slab = Slab::new();
        move || {
            in_and_out(
                |record| slab.insert(record.clone()).unwrap(),
                |key| assert!(slab.remove(key)),
            )
        }
    });
    row("DashMap", || {
        let map = dashmap::DashMap::new();
        move || {
            in_and_out(
                |record| {
                    map.insert(record.id(), record.clone());
                    record.id()
                },
                |key| drop(map.remove(&key)),
            )
        }
    });
    row("scc::HashMap", || {
        let map = scc::HashMap::new();
        move || {
            in_and_out(
                |record| {
                    assert!(map.insert_sync(record.id(), record.clone()).is_ok());
                    record.id()
                },
                |key| drop(map.remove_sync(&key)),
            )
        }
    });
    row("Mutex&lt;HashMap&gt;", || {
        let map = Mutex::new(HashMap::new());
        move || {
            in_and_out(
                |record| {
                    map.lock().unwrap().insert(record.id(), record.clone());
                    record.id()
                },
                |key| drop(map.lock().unwrap().remove(&key)),
            )
        }
    });
}

fn history() {
    println!("\n| history: push, ns | 1 thread | 2 threads |\n|-|-|-|");
    row("nothing: the clone and the drop of an Arc", || {
        || pushes(|record| drop(black_box(record.clone())))
    });
    row("tower-ops-requests: rings by thread", || {
        let history = History::new();
        move || pushes(|record| history.push(record))
    });
    row("Mutex&lt;VecDeque&gt;", || {
        let history = Mutex::new(VecDeque::new());
        move || {
            pushes(|record| {
                let mut history = history.lock().unwrap();
                if history.len() == 1_000 {
                    history.pop_front();
                }
                history.push_back(record.clone());
            })
        }
    });
}

/// What a request pays: for the tracker by itself, and for it in a layer with another observer.
fn whole() {
    println!("\n| a whole exchange, ns | 1 thread | 2 threads |\n|-|-|-|");
    row("fill a record, register, end, count, keep", || {
        let tracker = RequestTracker::new();
        move || {
            let now = tokio::time::Instant::now();
            let start = Instant::now();
            for _ in 0..OPERATIONS {
                bench::begin_and_end(&tracker, now);
            }
            nanos_each(start)
        }
    });
    row("in an ObserveLayer, without the tracker", || {
        let layer = ObserveLayer::new((Nothing, None::<RequestTracker>));
        move || exchanges(&layer)
    });
    row("in an ObserveLayer, with it", || {
        let layer = ObserveLayer::new((Nothing, Some(RequestTracker::new())));
        move || exchanges(&layer)
    });
}

fn listing() {
    println!("\n| reading 100,000 in flight, ms | |\n|-|-|");
    let tracker = RequestTracker::new();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| bench::fill(&tracker, 50_000));
        }
    });
    let print = |what: &str, mut read: Box<dyn FnMut() + '_>| {
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let start = Instant::now();
                read();
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        let (median, most) = (rounds[ROUNDS / 2], rounds[ROUNDS - 1]);
        println!("| {what} | {median:.1} [..{most:.1}] |");
    };
    print(
        "`in_flight()`, all snapshots, the oldest first",
        Box::new(|| assert_eq!(black_box(tracker.in_flight()).len(), 100_000)),
    );
    let mut service = tracker.service().with_details();
    print(
        "`GET /requests?limit=1000`, as JSON",
        Box::new(|| {
            let request = Request::builder().uri("/requests?limit=1000");
            let _answer = black_box(service.call(request.body(()).unwrap()));
        }),
    );
    print("`stats()`", Box::new(|| drop(black_box(tracker.stats()))));
}

struct Nothing;

impl Observe for Nothing {
    type Exchange = ();
    fn on_request<B>(&self, _: &mut Request<B>, facts: &mut Facts) {
        facts.set_route(tower_ops_observe::Route::from_static("/users/{id}"));
    }
    fn on_end(&self, (): &mut (), _: &Ending<'_>, _: &Facts) {}
}

fn exchanges<O: Observe>(layer: &ObserveLayer<O>) -> f64 {
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(Empty)))
    }));
    let uri: http::Uri = "/users/123456".parse().unwrap();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let start = Instant::now();
    for _ in 0..OPERATIONS {
        let mut request = Request::new(());
        *request.uri_mut() = uri.clone();
        let mut future = std::pin::pin!(service.call(request));
        assert!(black_box(future.as_mut().poll(&mut cx)).is_ready());
    }
    nanos_each(start)
}

/// A body that is at its end.
struct Empty;

impl http_body::Body for Empty {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        std::task::Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

fn in_and_out<K>(insert: impl Fn(&Record) -> K, remove: impl Fn(K)) -> f64 {
    let mut live: VecDeque<(K, Record)> = (0..IN_FLIGHT)
        .map(|_| Record::new())
        .map(|record| (insert(&record), record))
        .collect();
    // The one that went out goes in again, as the allocator would give its memory to the next one.
    let mut next = Record::new();
    let start = Instant::now();
    for _ in 0..OPERATIONS {
        let key = insert(&next);
        live.push_back((key, next));
        let (key, record) = live.pop_front().unwrap();
        remove(key);
        next = record;
    }
    let nanos = nanos_each(start);
    live.into_iter().for_each(|(key, _)| remove(key));
    nanos
}

fn pushes(push: impl Fn(&Record)) -> f64 {
    let records: Vec<Record> = (0..IN_FLIGHT).map(|_| Record::new()).collect();
    for n in 0..10_000 {
        push(&records[n % IN_FLIGHT]);
    }
    let start = Instant::now();
    for n in 0..OPERATIONS {
        push(&records[n % IN_FLIGHT]);
    }
    nanos_each(start)
}

#[expect(clippy::cast_precision_loss, reason = "both are small")]
fn nanos_each(start: Instant) -> f64 {
    start.elapsed().as_nanos() as f64 / OPERATIONS as f64
}

fn row<W: Fn() -> f64 + Send + Sync + 'static>(name: &str, make: impl Fn() -> W) {
    let measured = [1, 2].map(|threads| {
        let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round(threads, make())).collect();
        rounds.sort_by(f64::total_cmp);
        let (least, most) = (rounds[0], rounds[ROUNDS - 1]);
        format!("{:.1} [{least:.1}..{most:.1}]", rounds[ROUNDS / 2])
    });
    println!("| {name} | {} | {} |", measured[0], measured[1]);
}

/// The mean over the threads, which start together.
#[expect(clippy::cast_precision_loss, reason = "there are two at most")]
fn round<W: Fn() -> f64 + Send + Sync + 'static>(threads: usize, work: W) -> f64 {
    let work = Arc::new(work);
    let barrier = Arc::new(Barrier::new(threads));
    let running: Vec<_> = (0..threads)
        .map(|_| {
            let (work, barrier) = (Arc::clone(&work), Arc::clone(&barrier));
            thread::spawn(move || {
                barrier.wait();
                work()
            })
        })
        .collect();
    let nanos: f64 = running.into_iter().map(|one| one.join().unwrap()).sum();
    nanos / threads as f64
}
