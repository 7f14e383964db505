//! A runtime that is shut down, or that nobody drives any more, takes nothing with it
//! that others need.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tokio::io::duplex;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use tower_ops_connections::{CloseReason, Connection, Connections, Peer};

const MILLI: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(30);

fn threads() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

fn gauges(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let mut gauges = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        if let DebugValue::Gauge(value) = value
            && !key.key().name().contains("native")
        {
            *gauges.entry(key.key().name().to_owned()).or_default() += value.into_inner();
        }
    }
    gauges
}

/// Opens a connection whose task is on this runtime.
async fn open(connections: Connections) -> Connection {
    let (server, client) = duplex(64);
    let io = connections.accept(server, Peer::Unknown).await.unwrap();
    let connection = io.connection().clone();
    tokio::spawn(async move {
        let _held = (io, client);
        pending::<()>().await;
    });
    connection
}

fn idle_soon() -> Connections {
    let builder = Connections::builder().first_byte_timeout(500 * MILLI);
    builder.check_interval(50 * MILLI).build().unwrap()
}

#[test]
fn connections_are_reaped_when_the_runtime_that_accepted_first_is_gone() {
    let (first, second) = (threads(), threads());
    let connections = idle_soon();
    first.block_on(open(connections.clone()));
    let other = second.block_on(open(connections.clone()));
    drop(first);
    assert_eq!(connections.len(), 1);
    let reason = second.block_on(async { timeout(LONG, other.closing()).await });
    assert_eq!(reason.expect("reaped"), CloseReason::FirstByteTimeout);
}

#[test]
fn connections_are_reaped_when_the_runtime_that_accepted_first_is_not_driven() {
    let first = Builder::new_current_thread().enable_all().build().unwrap();
    let second = threads();
    let connections = idle_soon();
    first.block_on(open(connections.clone()));
    let other = second.block_on(open(connections));
    let reason = second.block_on(async { timeout(LONG, other.closing()).await });
    assert_eq!(reason.expect("reaped"), CloseReason::FirstByteTimeout);
}

#[test]
fn the_gauges_go_back_when_a_runtime_is_gone() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let connections = Connections::builder()
        .check_interval(10 * MILLI)
        .recorder(Arc::new(recorder))
        .build()
        .unwrap();
    let runtime = threads();
    runtime.block_on(async {
        open(connections.clone()).await;
        // Many passes, which set the gauge of those that are idle.
        sleep(300 * MILLI).await;
    });
    drop(runtime);
    assert!(connections.is_empty());
    assert_eq!(
        gauges(&snapshotter),
        [
            ("server_active_connections".to_owned(), 0.0),
            ("server_idle_connections".to_owned(), 0.0),
        ]
        .into()
    );
}
