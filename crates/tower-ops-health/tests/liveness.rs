//! Liveness of a runtime, seen from another thread. In real time: what is blocked are threads.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has to fail; figures are for whoever asks for them"
)]

#[path = "support/ask.rs"]
mod ask;

use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep};
use tower_ops_health::{Check, Details, Health};

const STALLED: Duration = Duration::from_secs(1);
const BLOCKED: Duration = Duration::from_millis(500);
/// For what has to happen at some time, on a machine that has more to do.
const LONG: Duration = Duration::from_secs(20);

fn health() -> Health {
    Health::builder()
        .stalled_after(STALLED)
        .blocked_after(BLOCKED)
        .details(Details::token("0123456789abcdef"))
        .build()
        .unwrap()
}

fn application(workers: usize) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .unwrap()
}

/// Blocks workers until the returned sender is dropped.
fn block(runtime: &Runtime, workers: usize) -> Vec<mpsc::Sender<()>> {
    let blocking = (0..workers).map(|_| {
        let (release, blocked) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        runtime.spawn(async move {
            begun.send(()).unwrap();
            let _ = blocked.recv();
        });
        begins.recv().unwrap();
        release
    });
    blocking.collect()
}

async fn wait_for(health: &Health, expected: (u16, &str), within: Duration) -> Duration {
    let began = Instant::now();
    loop {
        let answer = ask::get(health, "/health").await;
        let body = format!("{{\"status\":\"{}\"}}\n", expected.1);
        if (answer.code, &answer.body) == (expected.0, &body) {
            return began.elapsed();
        }
        assert!(began.elapsed() < within, "{} {}", answer.code, answer.body);
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_runtime_blocked_on_all_workers_is_not_live_until_it_runs_again() {
    for workers in [1, 2] {
        let (health, runtime) = (health(), application(workers));
        runtime.spawn(health.run());
        let watch = tokio::spawn(health.watch());
        // Idle is not blocked.
        sleep(STALLED * 2).await;
        assert_eq!(
            ask::get(&health, "/health").await.body,
            "{\"status\":\"ok\"}\n"
        );

        let release = block(&runtime, workers);
        let took = wait_for(&health, (503, "down"), LONG).await;
        println!("{workers} workers blocked: 503 after {took:?} (threshold {STALLED:?})");
        assert!(took >= STALLED / 2, "after {took:?}");
        let details = ask::get(&health, "/health?auth=0123456789abcdef")
            .await
            .json();
        let detail = details["detail"].as_str().unwrap();
        assert!(
            detail.starts_with("the runtime has not run a task for "),
            "{detail}"
        );

        drop(release);
        let took = wait_for(&health, (200, "ok"), LONG).await;
        println!("{workers} workers free: 200 after {took:?}");
        // Without a watch nobody could take the answer back.
        let _release = block(&runtime, workers);
        wait_for(&health, (503, "down"), LONG).await;
        watch.abort();
        wait_for(&health, (200, "ok"), LONG).await;
        runtime.shutdown_background();
    }
}

#[tokio::test]
async fn one_blocked_worker_degrades_and_no_more() {
    let (health, runtime) = (health(), application(3));
    runtime.spawn(health.run());
    tokio::spawn(health.watch());
    let release = block(&runtime, 1);
    let took = wait_for(&health, (200, "degraded"), LONG).await;
    println!("one worker of three blocked: degraded after {took:?} (threshold {BLOCKED:?})");
    let details = ask::get(&health, "/health?auth=0123456789abcdef")
        .await
        .json();
    assert_eq!(
        details["detail"],
        "1 of the runtime's workers seem to be blocked"
    );
    let until = Instant::now() + STALLED * 2;
    while Instant::now() < until {
        assert_eq!(ask::code(&health, "/health").await, 200);
        sleep(Duration::from_millis(5)).await;
    }
    drop(release);
    wait_for(&health, (200, "ok"), LONG).await;
    runtime.shutdown_background();
}

#[tokio::test]
async fn a_runtime_that_ends_is_not_one_that_stalls() {
    let (health, runtime) = (health(), application(1));
    runtime.spawn(health.run());
    tokio::spawn(health.watch());
    sleep(BLOCKED).await;
    runtime.shutdown_background();
    let until = Instant::now() + STALLED * 2;
    while Instant::now() < until {
        assert_eq!(ask::code(&health, "/health").await, 200);
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_worker_with_much_to_do_is_not_blocked() {
    let (health, runtime) = (health(), application(1));
    runtime.spawn(health.run());
    let _watch = tokio::spawn(health.watch());
    runtime.spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    sleep(BLOCKED * 4).await;
    let answer = ask::get(&health, "/health").await;
    assert_eq!(answer.body, "{\"status\":\"ok\"}\n");
    runtime.shutdown_background();
}

#[test]
fn who_listens_and_blocks_does_not_block_the_probes() {
    let (hold, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let health = Health::builder()
        .stalled_after(STALLED)
        .check(Check::always_ok("db"))
        .on_change(move |_| {
            let _ = held.lock().unwrap().recv();
        })
        .build()
        .unwrap();
    let runtime = application(1);
    runtime.spawn(health.run());
    let (answer, answers) = mpsc::channel();
    std::thread::spawn(move || {
        let probes = Builder::new_current_thread().enable_all().build().unwrap();
        probes.block_on(async {
            tokio::spawn(health.watch());
            loop {
                sleep(Duration::from_millis(50)).await;
                if answer.send(ask::code(&health, "/health").await).is_err() {
                    return;
                }
            }
        });
    });
    // Longer than it takes the watch to look at all checks.
    std::thread::sleep(STALLED + Duration::from_millis(2_500));
    while answers.try_recv().is_ok() {}
    let answered = answers.recv_timeout(LONG);
    assert_eq!(
        answered,
        Ok(503),
        "its one worker is blocked by who listens"
    );
    drop(hold);
    runtime.shutdown_background();
}
