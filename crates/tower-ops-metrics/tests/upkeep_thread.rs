//! The thread that folds samples lasts as long as something records or renders, and no longer.
//!
//! It wakes once a second of real time: hence the real waits. One test, since it counts the
//! threads of the process.

#![cfg(all(feature = "prometheus", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use tower_ops_metrics::Metrics;

/// How many upkeep threads there are.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names
        .filter(|name| name.trim_end() == "metrics-upkeep")
        .count()
}

/// Waits until there are so many upkeep threads.
fn expect_threads(expected: usize) {
    for _ in 0..400 {
        if threads() == expected {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("{} upkeep threads, not {expected}", threads());
}

#[test]
fn the_upkeep_lasts_as_long_as_the_metrics_or_a_handle() {
    let (metrics, prometheus) = Metrics::builder().build_prometheus().unwrap();
    expect_threads(1);
    drop(prometheus);
    sleep(Duration::from_millis(1_200));
    assert_eq!(threads(), 1, "the metrics still record");
    drop(metrics);
    expect_threads(0);

    let (metrics, prometheus) = Metrics::builder().build_prometheus().unwrap();
    let service = prometheus.service();
    expect_threads(1);
    drop((metrics, prometheus));
    sleep(Duration::from_millis(1_200));
    assert_eq!(threads(), 1, "the service still renders");
    drop(service);
    expect_threads(0);
}
