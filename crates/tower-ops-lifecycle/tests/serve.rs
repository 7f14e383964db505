//! Servers of others: when they get the signal to stop, and by when they have to have stopped.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use http::header::CONNECTION;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};
use tower_ops_lifecycle::{Lifecycle, ParticipantOutcome, Phase, Trigger};
use tower_ops_testing::RawHttp1;

use self::timed::{builder, ms, ready};

#[path = "support/timed.rs"]
mod timed;

#[tokio::test(start_paused = true)]
async fn the_drain_lasts_until_the_server_ends() {
    let lifecycle = ready();
    let stop = lifecycle.signal_to_stop();
    let began = Instant::now();
    let serve = async move {
        stop.await;
        assert_eq!(
            began.elapsed(),
            ms(5_000),
            "not before the pre-drain is over"
        );
        sleep(ms(3_000)).await;
        7
    };
    let served = lifecycle.with_deadline(serve);
    let stopped = lifecycle.run();
    lifecycle.trigger(Trigger::Terminate);
    assert_eq!(served.await, Ok(7));
    let report = stopped.await;
    assert_eq!(report.drain(), Some(ms(3_000)));
    assert_eq!(report.participants()[0].name, "server");
    assert_eq!(report.participants()[0].took, ms(3_000));
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_the_server_is_dropped_and_that_is_reported() {
    let lifecycle = ready();
    let (dropped, was_dropped) = oneshot::channel::<()>();
    let serve = async move {
        let _dropped = dropped;
        pending::<()>().await;
    };
    let served = lifecycle.with_deadline(serve);
    let began = Instant::now();
    lifecycle.trigger(Trigger::Terminate);
    let late = served.await.unwrap_err();
    assert_eq!(began.elapsed(), ms(20_000));
    was_dropped.await.unwrap_err();
    assert_eq!(late.after(), ms(20_000));
    assert_eq!(
        late.to_string(),
        "the server was still serving 20s after the shutdown began, and was dropped"
    );
    let report = lifecycle.run().await;
    assert_eq!(report.drain(), Some(ms(15_000)));
    assert_eq!(report.aborted(), 1);
    let server = &report.participants()[0];
    assert_eq!(server.outcome, ParticipantOutcome::TimedOut);
    assert_eq!(server.lines, ["still serving at the deadline"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_nobody_watches_has_the_full_time() {
    let lifecycle = ready();
    let stop = lifecycle.signal_to_stop();
    lifecycle.shutdown();
    // Polled alone: it drives the shutdown as well.
    stop.await;
    assert_eq!(lifecycle.phase(), Phase::Draining);
    let report = lifecycle.run().await;
    assert_eq!(report.drain(), Some(ms(15_000)));
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_by_itself_is_no_part_of_the_drain() {
    let lifecycle = ready();
    let served = lifecycle.with_deadline(async { 7 }).await;
    assert_eq!(served, Ok(7));
    assert_eq!(lifecycle.phase(), Phase::Ready);
    lifecycle.shutdown();
    let report = lifecycle.run().await;
    assert!(report.participants().is_empty());
    assert_eq!(report.drain(), Some(ms(0)));
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_the_server_as_well() {
    let lifecycle = builder().on_second_signal(|_, _| {}).build().unwrap();
    lifecycle.mark_ready();
    let served = lifecycle.with_deadline(pending::<()>());
    lifecycle.trigger(Trigger::Terminate);
    lifecycle.trigger(Trigger::Terminate);
    served.await.unwrap_err();
}

/// Real sockets and a real clock: what a rolling restart looks like from outside.
#[tokio::test]
async fn a_shutdown_of_axum_loses_nothing() {
    let lifecycle = builder().pre_drain(ms(2_000)).build().unwrap();
    let go_on = Arc::new(Notify::new());
    let (addr, server) = serve(&lifecycle, &go_on).await;
    lifecycle.mark_ready();
    let stopped = lifecycle.run();

    let mut slow = RawHttp1::connect(addr).await.unwrap();
    slow.send_request("GET", "/slow", &[], "").await.unwrap();
    let mut idle = RawHttp1::connect(addr).await.unwrap();
    assert_eq!(ask(&mut idle).await, (200, None));

    lifecycle.trigger(Trigger::Terminate);
    // Who has not noticed yet: on a new connection, and on one that was there.
    let mut new = RawHttp1::connect(addr).await.unwrap();
    let close = Some("close".to_owned());
    assert_eq!(ask(&mut new).await, (200, close.clone()));
    assert_eq!(ask(&mut idle).await, (200, close));

    // The slow one is answered in the drain.
    while lifecycle.phase() != Phase::Draining {
        sleep(ms(5)).await;
    }
    sleep(ms(100)).await;
    go_on.notify_one();
    let head = slow.read_head().await.unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(slow.read_body(&head).await.unwrap().data, "slow");
    server.await.unwrap();
    let report = stopped.await;
    assert!(report.is_clean(), "{report}");
    assert!(report.drain() >= Some(ms(100)), "{report}");
    RawHttp1::connect(addr).await.unwrap_err();
}

async fn serve(
    lifecycle: &Lifecycle,
    go_on: &Arc<Notify>,
) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let go_on = Arc::clone(go_on);
    let slow = get(|| async move {
        go_on.notified().await;
        "slow"
    });
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/slow", slow)
        .layer(lifecycle.connection_close());
    let serve = axum::serve(listener, app).with_graceful_shutdown(lifecycle.signal_to_stop());
    let served = lifecycle.with_deadline(serve);
    let task = tokio::spawn(async move { served.await.unwrap().unwrap() });
    (addr, task)
}

async fn ask(client: &mut RawHttp1) -> (u16, Option<String>) {
    client.send_request("GET", "/", &[], "").await.unwrap();
    let head = client.read_head().await.unwrap();
    let close = head.headers.get(CONNECTION);
    let close = close.map(|it| it.to_str().unwrap().to_owned());
    client.read_body(&head).await.unwrap();
    (head.status.as_u16(), close)
}
