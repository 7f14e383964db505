//! Health checks of the bundle, as the operations endpoint publishes them.
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;
use tower_ops::Ops;
use tower_ops::health::{Check, Details};
use tower_ops_testing::{RawHttp1, free_addr};

const TOKEN: &str = "0123456789abcdef";
const LONG: Duration = Duration::from_secs(10);

async fn ask(addr: SocketAddr, path: &str, token: Option<&str>) -> (u16, String) {
    let mut client = RawHttp1::connect(addr).await.unwrap();
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = bearer
        .iter()
        .map(|bearer| ("authorization", bearer.as_str()))
        .collect();
    client
        .send_request("GET", path, &headers, "")
        .await
        .unwrap();
    let head = client.read_head().await.unwrap();
    let body = client.read_body(&head).await.unwrap().data;
    (
        head.status.as_u16(),
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

/// Asks until the path answers with that status.
async fn until(addr: SocketAddr, path: &str, status: u16) {
    let start = Instant::now();
    while ask(addr, path, None).await.0 != status {
        assert!(start.elapsed() < LONG, "{path} never answers {status}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_critical_check_decides_readiness_and_its_details_need_the_token() {
    let up = Arc::new(AtomicBool::new(true));
    let check = {
        let up = Arc::clone(&up);
        let look = move || {
            let up = up.load(Ordering::Relaxed);
            async move {
                up.then_some(())
                    .ok_or_else(|| io::Error::other("the disk is on fire"))
            }
        };
        Check::new("disk", look)
            .critical()
            .period(Duration::from_millis(20))
            .timeout(Duration::from_millis(20))
    };
    let ops = Ops::builder("test")
        .private_recorder()
        .ops_addr("127.0.0.1:0")
        .operations_token(TOKEN)
        .check(check)
        .build()
        .unwrap();
    let endpoint = ops.start_operations().unwrap();
    let addr = endpoint.addr();
    ops.health().mark_ready();
    until(addr, "/ready", 200).await;

    up.store(false, Ordering::Relaxed);
    until(addr, "/ready", 503).await;
    assert_eq!(ask(addr, "/health", None).await.0, 200);
    let public = ask(addr, "/checks", None).await;
    assert_eq!(public, (503, "{\"status\":\"down\"}\n".to_owned()));
    assert_eq!(ask(addr, "/checks", Some("wrong")).await, public);
    let (status, details) = ask(addr, "/health/disk", Some(TOKEN)).await;
    assert_eq!(status, 503);
    assert!(details.contains("the disk is on fire"), "{details}");
    let (_, metrics) = ask(addr, "/metrics", None).await;
    assert!(
        metrics.contains("dependency_up{name=\"disk\"} 0"),
        "{metrics}"
    );

    up.store(true, Ordering::Relaxed);
    until(addr, "/ready", 200).await;
}

#[test]
fn a_blocked_runtime_is_not_alive_until_it_runs_again() {
    let operations = free_addr();
    let application = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let ops = Ops::builder("test")
        .private_recorder()
        .ops_addr(operations.to_string())
        .health(|health| health.stalled_after(Duration::from_millis(300)))
        .build()
        .unwrap();
    let _endpoint = application.block_on(async { ops.start_operations().unwrap() });

    let prober = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    prober.block_on(async {
        until(operations, "/health", 200).await;
        let (release, released) = std::sync::mpsc::channel::<()>();
        let released = Arc::new(std::sync::Mutex::new(released));
        for _ in 0..2 {
            let released = Arc::clone(&released);
            application.spawn(async move {
                // Blocks its worker, on purpose: the sender is never sent to, but dropped.
                let _ = released.lock().unwrap().recv();
            });
        }
        let start = Instant::now();
        until(operations, "/health", 503).await;
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(200), "{took:?}");
        drop(release);
        until(operations, "/health", 200).await;
    });
    application.shutdown_timeout(LONG);
}

#[test]
fn bad_checks_are_listed_with_everything_else() {
    let error = Ops::builder("")
        .check(Check::always_ok("db").period(Duration::ZERO))
        .check(Check::always_ok("db"))
        .health(|health| health.details(Details::token("")))
        .build()
        .unwrap_err();
    let text = error.to_string();
    for problem in [
        "name: is empty",
        "health: check \"db\": there is one of that name",
        "health: details: the token: is shorter than 16 characters",
    ] {
        assert!(text.contains(problem), "{problem:?} is not in {text}");
    }
}

#[test]
fn operations_outside_of_a_runtime_are_an_error_that_says_so() {
    let ops = Ops::builder("test")
        .private_recorder()
        .ops_addr("127.0.0.1:0")
        .build()
        .unwrap();
    let error = ops.start_operations().unwrap_err().to_string();
    assert!(error.contains("runtime"), "{error}");
}

#[test]
fn a_runtime_that_ends_takes_the_checks_with_it_and_not_the_endpoint() {
    let ops = Ops::builder("test")
        .private_recorder()
        .ops_addr("127.0.0.1:0")
        .build()
        .unwrap();
    let application = tokio::runtime::Runtime::new().unwrap();
    let endpoint = application.block_on(async { ops.start_operations().unwrap() });
    drop(application);
    let addr = endpoint.addr();
    thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (status, _) = runtime.block_on(ask(addr, "/ready", None));
        assert_eq!(status, 503);
    })
    .join()
    .unwrap();
}
