//! Checks that block: a process that ends does not wait for them.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use tower_ops_health::{Check, Health};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_check_that_blocks_does_not_hold_the_runtime_at_its_end() {
    let (release, released) = mpsc::channel::<()>();
    let (here, is_here) = mpsc::channel();
    let released = Arc::new(Mutex::new(released));
    let check = Check::blocking("disk", move || {
        here.send(()).unwrap();
        let _ = released.lock().unwrap().recv();
    });
    let health = Health::builder().check(check).build().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.spawn(health.run());
    is_here.recv_timeout(LONG).unwrap();
    // Blocks until it is released, which comes last.
    drop(runtime);
    drop(release);
}

#[tokio::test]
async fn a_check_that_blocks_has_the_runtime_at_hand_and_its_panic_is_reported() {
    let entered = Check::blocking("entered", || tokio::runtime::Handle::try_current().is_ok());
    let panics = Check::blocking("panics", || -> bool { panic!("no disk at all") });
    let health = Health::builder();
    let health = health.check(entered).check(panics).build().unwrap();
    let running = tokio::spawn(health.run());
    let began = tokio::time::Instant::now();
    loop {
        let text = format!("{:?}", health.reports());
        if text.contains("Panic") && text.contains("Ok") {
            break;
        }
        assert!(began.elapsed() < LONG, "{text}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.abort();
}
