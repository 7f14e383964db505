//! The bundle beside a server of the user's: when its drain ends, and when it is quiet.
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

#[cfg(feature = "tonic")]
use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tower_ops::lifecycle::{LifecycleBuilder, PreDrainEnd, ShutdownReport};
use tower_ops::{Ops, OpsBuilder};
use tower_ops_testing::RawHttp1;

const LONG: Duration = Duration::from_secs(20);

fn builder(change: impl FnOnce(LifecycleBuilder) -> LifecycleBuilder) -> OpsBuilder {
    Ops::builder("test")
        .private_recorder()
        .ops_addr("127.0.0.1:0")
        .lifecycle(|life| change(life.signals(false)))
}

fn app(ops: &Ops) -> Router {
    let slow = get(async || {
        sleep(Duration::from_secs(1)).await;
        "slow"
    });
    let routes = Router::new().route("/", get(async || "hello"));
    routes.route("/slow", slow).layer(ops.layer())
}

async fn get_text(addr: SocketAddr, path: &str) -> String {
    let mut client = RawHttp1::connect(addr).await.unwrap();
    client.send_request("GET", path, &[], "").await.unwrap();
    let head = client.read_head().await.unwrap();
    let body = client.read_body(&head).await.unwrap();
    String::from_utf8(body.data.to_vec()).unwrap()
}

#[tokio::test]
async fn a_server_with_nothing_but_the_signal_to_stop_does_not_cost_the_whole_drain() {
    let ops = builder(|life| life.pre_drain(Duration::ZERO))
        .build()
        .unwrap();
    let _operations = ops.start_operations().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serve = axum::serve(listener, app(&ops))
        .with_graceful_shutdown(ops.lifecycle().signal_to_stop())
        .into_future();
    let serving = tokio::spawn(serve);
    ops.mark_ready();
    assert_eq!(get_text(addr, "/").await, "hello");
    let slow = tokio::spawn(async move { get_text(addr, "/slow").await });
    while ops.requests().unwrap().in_flight_count() == 0 {
        sleep(Duration::from_millis(5)).await;
    }

    ops.lifecycle().shutdown();
    let report = timeout(LONG, ops.lifecycle().run()).await.unwrap();
    assert!(report.is_clean(), "{report}");
    let drain = report.drain().unwrap();
    // The request in flight is waited for, and not the fifteen seconds.
    assert!(drain < Duration::from_secs(8), "{report}");
    assert!(slow.is_finished(), "{report}");
    assert_eq!(slow.await.unwrap(), "slow");
    timeout(LONG, serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_life_that_is_over_is_not_begun_again() {
    let ops = builder(|life| life.pre_drain(Duration::ZERO))
        .build()
        .unwrap();
    let serve = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stop = sleep(Duration::from_millis(20));
        timeout(LONG, ops.serve_until(listener, app(&ops), stop)).await
    };
    assert!(serve().await.unwrap().unwrap().is_clean());
    let error = serve().await.unwrap().unwrap_err().to_string();
    assert!(error.contains("build another"), "{error}");
}

/// Serves with a listener of the bundle's, and stops after a connection.
async fn quiet_after_a_connection<F>(serve: impl FnOnce(&Ops, TcpListener) -> F) -> ShutdownReport
where
    F: Future<Output = ()> + Send + 'static,
{
    let window = Duration::from_millis(200);
    let change = |life: LifecycleBuilder| {
        life.pre_drain(Duration::from_secs(60))
            .drain_timeout(Duration::from_millis(200))
            .wait_for_quiet(window)
            .allow_over_grace_period(true)
    };
    let ops = builder(change).build().unwrap();
    let _operations = ops.start_operations().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving: JoinHandle<()> = tokio::spawn(serve(&ops, listener));
    ops.mark_ready();
    let _client = RawHttp1::connect(addr).await.unwrap();
    while ops.connections().is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
    ops.lifecycle().shutdown();
    let report = timeout(LONG, ops.lifecycle().run()).await.unwrap();
    serving.abort();
    report
}

#[tokio::test]
async fn connections_of_the_listener_for_axum_count_for_a_quiet_pre_drain() {
    let report = quiet_after_a_connection(|ops, listener| {
        let service = ops.make_service(app(ops));
        let serve = axum::serve(ops.listener(listener), service).into_future();
        async { serve.await.unwrap() }
    })
    .await;
    assert_eq!(report.pre_drain_end(), Some(PreDrainEnd::Quiet), "{report}");
}

#[cfg(feature = "tonic")]
#[tokio::test]
async fn connections_of_the_incoming_for_tonic_count_for_a_quiet_pre_drain() {
    use futures_util::StreamExt;

    let report = quiet_after_a_connection(|ops, listener| {
        let mut incoming = Box::pin(ops.incoming(listener));
        async move {
            let mut open = Vec::new();
            while let Some(Ok(connection)) = incoming.next().await {
                open.push(connection);
            }
            pending::<()>().await;
        }
    })
    .await;
    assert_eq!(report.pre_drain_end(), Some(PreDrainEnd::Quiet), "{report}");
}
