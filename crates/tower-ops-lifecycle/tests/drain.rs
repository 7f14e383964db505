//! Who takes part in the drain, how long it lasts, and the report of what was aborted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::future::pending;

use tokio::time::{Instant, sleep};
use tower_ops_lifecycle::{
    HookOutcome, Lifecycle, ParticipantOutcome, Phase, ShutdownReport, Trigger,
};

use self::timed::{Journal, ms, ready};

#[path = "support/timed.rs"]
mod timed;

async fn stop(lifecycle: &Lifecycle) -> ShutdownReport {
    lifecycle.shutdown();
    lifecycle.run().await
}

#[tokio::test(start_paused = true)]
async fn participants_drain_together_and_the_slowest_counts() {
    let lifecycle = ready();
    for (name, takes) in [("a", 300), ("b", 2_000), ("c", 700)] {
        lifecycle.on_drain(name, async move |_| sleep(ms(takes)).await);
    }
    let report = stop(&lifecycle).await;
    assert_eq!(report.drain(), Some(ms(2_000)));
    let took: Vec<_> = report.participants().iter().map(|it| it.took).collect();
    assert_eq!(took, [ms(300), ms(2_000), ms(700)]);
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_a_participant_aborts_and_reports_what() {
    let lifecycle = ready();
    let began = Instant::now();
    lifecycle.on_drain("connections", async move |drain| {
        assert_eq!(drain.deadline(), began + ms(20_000));
        drain.expired().await;
        drain.aborted("GET /reports for 16s from 192.0.2.7:4711");
        sleep(ms(250)).await;
        drain.aborted("GET /export for 17s\nfrom \u{1b}[2J");
        drain.aborted_unnamed(3);
    });
    let report = stop(&lifecycle).await;
    assert_eq!(report.drain(), Some(ms(15_250)));
    let connections = &report.participants()[0];
    assert_eq!(connections.outcome, ParticipantOutcome::Done);
    assert_eq!(connections.aborted, 5);
    assert_eq!(connections.lines.len(), 2);
    assert!(!connections.lines[1].contains(['\n', '\u{1b}']));
    assert_eq!(report.aborted(), 5);
    assert!(!report.is_clean(), "something was lost");
    let text = report.to_string();
    assert!(
        text.contains("done, 5 aborted\n      GET /reports for 16s"),
        "{text}"
    );
    assert!(text.contains("and 3 more"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_is_dropped_and_what_it_reported_before_is_kept() {
    let lifecycle = ready();
    let journal = Journal::default();
    let hook = journal.clone();
    lifecycle.on_drain("hangs", async |drain| {
        drain.expired().await;
        drain.aborted("POST /orders");
        pending().await
    });
    lifecycle.on_drain("panics", async |drain| {
        drain.aborted("GET /");
        panic!("a bug");
    });
    lifecycle.on_stop("pool", async move || hook.write("pool"));
    let report = stop(&lifecycle).await;
    assert_eq!(report.drain(), Some(ms(16_000)));
    let [hangs, panics] = report.participants() else {
        panic!("{report}");
    };
    assert_eq!(hangs.outcome, ParticipantOutcome::TimedOut);
    assert_eq!(hangs.lines, ["POST /orders"]);
    assert_eq!(panics.outcome, ParticipantOutcome::Panicked("a bug".into()));
    assert_eq!(panics.took, ms(0));
    assert_eq!(panics.lines, ["GET /"]);
    assert_eq!(report.hooks()[0].outcome, HookOutcome::Done);
    assert_eq!(journal.lines(), ["pool"]);
}

#[tokio::test(start_paused = true)]
async fn one_registered_in_the_drain_takes_part_and_one_after_it_does_not() {
    let lifecycle = ready();
    let inner = lifecycle.clone();
    lifecycle.on_drain("first", async move |_| {
        sleep(ms(1_000)).await;
        inner.on_drain("second", async |_| sleep(ms(500)).await);
    });
    let report = stop(&lifecycle).await;
    assert_eq!(report.drain(), Some(ms(1_500)));
    assert_eq!(report.participants().len(), 2);
    assert_eq!(report.participants()[1].took, ms(500));

    lifecycle.on_drain("too late", async |_| panic!("must not run"));
    assert_eq!(lifecycle.run().await.participants().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_guard_keeps_the_drain_open() {
    let lifecycle = ready();
    let one = lifecycle.drain_guard("socket");
    let other = lifecycle.drain_guard("socket");
    let work = tokio::spawn({
        let token = lifecycle.drain_token();
        async move {
            token.cancelled().await;
            sleep(ms(200)).await;
            drop(one);
            sleep(ms(600)).await;
            drop(other);
        }
    });
    let report = stop(&lifecycle).await;
    assert_eq!(report.drain(), Some(ms(800)));
    assert!(report.is_clean());
    work.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn guards_that_are_still_held_are_named_and_counted() {
    let lifecycle = ready();
    let _sockets: Vec<_> = (0..3).map(|_| lifecycle.drain_guard("socket")).collect();
    sleep(ms(1_000)).await;
    let _consumer = lifecycle.drain_guard("consumer");
    let report = stop(&lifecycle).await;
    assert_eq!(report.drain(), Some(ms(16_000)));
    let found: Vec<_> = report.participants().iter().collect();
    let names: Vec<_> = found.iter().map(|it| (&*it.name, it.aborted)).collect();
    assert_eq!(names, [("socket", 3), ("consumer", 1)]);
    assert_eq!(found[0].outcome, ParticipantOutcome::TimedOut);
    assert_eq!(found[0].lines, ["3 still held, the oldest for 22s"]);
}

#[tokio::test(start_paused = true)]
async fn tokens_fire_at_their_phase() {
    let lifecycle = ready();
    let (consumer, socket) = (lifecycle.pre_drain_token(), lifecycle.drain_token());
    assert!(!consumer.is_cancelled() && !socket.is_cancelled());
    assert_eq!(socket.run_until_cancelled(async { 7 }).await, Some(7));

    let stopped = lifecycle.run();
    let began = Instant::now();
    lifecycle.trigger(Trigger::PreStop);
    assert!(consumer.is_cancelled() && !socket.is_cancelled());
    // Even for work that could go on at once.
    assert_eq!(consumer.run_until_cancelled(async { 7 }).await, None);
    assert_eq!(socket.run_until_cancelled(pending::<()>()).await, None);
    assert_eq!(began.elapsed(), ms(5_000));
    socket.clone().cancelled_owned().await;
    assert!(lifecycle.phase() >= Phase::Draining);
    stopped.await;
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_of_what_is_reported_is_bounded() {
    let lifecycle = ready();
    for _ in 0..300 {
        lifecycle.on_drain("many", async |_| {});
    }
    let one = lifecycle.clone();
    lifecycle.on_drain("last", async move |_| drop(one));
    let report = stop(&lifecycle).await;
    assert_eq!(report.participants().len(), 256);

    let lifecycle = ready();
    lifecycle.on_drain("talks", async |drain| {
        for _ in 0..1_000 {
            drain.aborted("x".repeat(10_000));
        }
    });
    let report = stop(&lifecycle).await;
    let talks = &report.participants()[0];
    assert_eq!(talks.aborted, 1_000);
    assert_eq!(talks.lines.len(), 100);
    assert!(talks.lines.iter().all(|line| line.chars().count() == 257));
}
