//! A runtime that is shut down, or that nobody polls any more, takes nothing with it that others
//! need.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use tower_ops_resources::{CloseOutcome, Registry};

const MILLI: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(30);

fn threads() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

/// How much the gauge has changed since the last call.
fn registered(snapshotter: &Snapshotter) -> f64 {
    let all = snapshotter.snapshot().into_vec();
    let gauges = all.iter().filter_map(|(key, _, _, value)| match value {
        DebugValue::Gauge(value) if key.key().name() == "registry_connections" => Some(**value),
        _ => None,
    });
    gauges.sum()
}

#[test]
fn the_gauge_goes_back_when_a_runtime_is_gone() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let registry = Registry::<()>::builder()
        .recorder(Arc::new(recorder))
        .build()
        .unwrap();
    let runtime = threads();
    runtime.block_on(async {
        registry.register_connection((), "gone", async |()| {});
    });
    drop(runtime);
    assert_eq!(registered(&snapshotter), 1.0);
    let report = threads().block_on(registry.close_all(LONG));
    assert_eq!(report.failed[0].1, CloseOutcome::Dropped, "{report}");
    assert_eq!(registered(&snapshotter), -1.0);
}

/// Registers on both runtimes, and waits on the second one for the close of its resource.
fn closes_on_the_second(first: Runtime, second: &Runtime, drop_first: bool) {
    let registry = Registry::<()>::builder()
        .idle_timeout(100 * MILLI)
        .health_check_interval(50 * MILLI)
        .build()
        .unwrap();
    let closed = Arc::new(AtomicUsize::new(0));
    {
        let _first = first.enter();
        registry.register_connection((), "first", async |()| {});
    }
    {
        let _second = second.enter();
        let closed = Arc::clone(&closed);
        registry.register_connection((), "second", async move |()| {
            closed.fetch_add(1, Ordering::SeqCst);
        });
    }
    let kept = (!drop_first).then_some(first);
    second.block_on(async {
        timeout(LONG, async {
            while closed.load(Ordering::SeqCst) == 0 {
                sleep(10 * MILLI).await;
            }
        })
        .await
        .expect("closed for idleness");
    });
    drop(kept);
}

#[test]
fn the_registry_goes_on_when_the_runtime_that_registered_first_is_gone() {
    closes_on_the_second(threads(), &threads(), true);
}

#[test]
fn the_registry_goes_on_when_the_runtime_that_registered_first_is_not_polled() {
    let first = Builder::new_current_thread().enable_all().build().unwrap();
    closes_on_the_second(first, &threads(), false);
}
