//! `run` may be dropped, called again and called late; there is one report.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::future::pending;
use std::io;
use std::sync::{Arc, OnceLock};

use tokio::time::{sleep, timeout};
use tower_ops_lifecycle::{HookOutcome, Lifecycle, Phase, ShutdownEnding, Trigger};

use self::timed::{Journal, builder, ms, ready, watch};

#[path = "support/timed.rs"]
mod timed;

#[tokio::test(start_paused = true)]
async fn dropped_in_any_phase_the_shutdown_goes_on() {
    for dropped_after in [0, 1_000, 6_000, 22_000] {
        let lifecycle = ready();
        let journal = Journal::default();
        let hook = journal.clone();
        lifecycle.on_drain("stuck", async |_| pending().await);
        lifecycle.on_stop("slow", async move || {
            sleep(ms(3_000)).await;
            hook.write("hook");
        });
        let phases = watch(&lifecycle);
        lifecycle.shutdown();
        let running = timeout(ms(dropped_after), lifecycle.run());
        assert!(running.await.is_err());
        let report = lifecycle.run().await;
        assert_eq!(report.total(), ms(24_000), "{dropped_after}");
        assert_eq!(journal.lines(), ["hook"]);
        let expected = [
            (Phase::PreDraining, 0),
            (Phase::Draining, 5_000),
            (Phase::Stopped, 24_000),
        ];
        assert_eq!(phases.await, expected, "{dropped_after}");
    }
}

#[tokio::test(start_paused = true)]
async fn unpolled_it_carries_the_shutdown_out_as_well() {
    let lifecycle = ready();
    drop(lifecycle.run());
    lifecycle.shutdown();
    assert_eq!(lifecycle.wait_for(Phase::Stopped).await, Phase::Stopped);
    assert_eq!(lifecycle.shutdown_report().unwrap().total(), ms(5_000));
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_get_the_one_report() {
    let lifecycle = ready();
    let waiting: Vec<_> = (0..5).map(|_| tokio::spawn(lifecycle.run())).collect();
    lifecycle.trigger(Trigger::PreStop);
    let report = lifecycle.run().await.to_string();
    for one in waiting {
        assert_eq!(one.await.unwrap().to_string(), report);
    }
    assert_eq!(lifecycle.run().await.to_string(), report);
}

#[tokio::test(start_paused = true)]
async fn an_exit_that_panics_leaves_nobody_waiting() {
    let lifecycle = ready(); // its exit panics
    let stopped = lifecycle.run();
    lifecycle.trigger(Trigger::Terminate);
    let second = lifecycle.clone();
    let exit = tokio::spawn(async move { second.trigger(Trigger::Terminate) });
    assert!(exit.await.unwrap_err().is_panic());
    let ending = stopped.await.ending();
    assert_eq!(ending, ShutdownEnding::SecondSignal(Trigger::Terminate));
}

#[tokio::test(start_paused = true)]
async fn nobody_sees_the_end_before_the_exit() {
    let seen = Arc::new(OnceLock::new());
    let (exit, cell) = (Arc::clone(&seen), Arc::new(OnceLock::<Lifecycle>::new()));
    let inner = Arc::clone(&cell);
    let lifecycle = builder()
        .on_second_signal(move |_, _| {
            exit.set(inner.get().unwrap().phase()).unwrap();
        })
        .build()
        .unwrap();
    cell.set(lifecycle.clone()).unwrap();
    lifecycle.mark_ready();
    lifecycle.trigger(Trigger::Interrupt);
    lifecycle.trigger(Trigger::Interrupt);
    // `main`, which waits for it, would return 0 before.
    assert_eq!(seen.get(), Some(&Phase::PreDraining));
    assert_eq!(lifecycle.phase(), Phase::Stopped);
}

#[test]
fn a_runtime_that_ends_first_is_reported_and_named() {
    for triggered in [false, true] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let lifecycle = ready();
        lifecycle.on_stop("pool", async || {});
        runtime.block_on(async {
            drop(lifecycle.run());
            if triggered {
                lifecycle.shutdown();
                tokio::task::yield_now().await;
            }
        });
        drop(runtime);
        assert_eq!(lifecycle.phase(), Phase::Stopped);
        let report = lifecycle.shutdown_report().unwrap();
        assert_eq!(report.ending(), ShutdownEnding::CutOff);
        assert_eq!(report.trigger().is_some(), triggered);
        assert_eq!(report.hooks()[0].outcome, HookOutcome::NotRun);
        assert!(!report.is_clean());
    }
}

#[test]
#[should_panic(expected = "no reactor running")]
fn outside_of_a_runtime_it_panics() {
    drop(ready().run());
}

#[test]
fn a_failed_call_outside_does_not_spoil_the_next() {
    let lifecycle = ready();
    let outside = lifecycle.clone();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        drop(outside.run());
    }));
    assert!(panicked.is_err());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    lifecycle.shutdown();
    assert!(runtime.block_on(async { lifecycle.run().await }).is_clean());
}

#[tokio::test(start_paused = true)]
async fn the_report_is_pleasant_to_read() {
    let lifecycle = builder().wait_for_quiet(ms(1_000)).build().unwrap();
    lifecycle.activity().touch();
    lifecycle.mark_ready();
    lifecycle.on_drain("connections", async |drain| {
        drain.expired().await;
        drain.aborted("GET /reports for 16s from 192.0.2.7:4711");
    });
    lifecycle.on_stop("pool", async || sleep(ms(12)).await);
    lifecycle.on_stop("state", async || Err(io::Error::other("disk full")));
    sleep(ms(3 * 3_600_000 + 2 * 60_000)).await;
    let stopped = lifecycle.run();
    lifecycle.trigger(Trigger::PreStop);
    sleep(ms(300)).await;
    lifecycle.activity().touch();
    sleep(ms(200)).await;
    lifecycle.trigger(Trigger::Terminate);
    let expected = "\
shutdown by prestop: completed, took 16.312s, up 3h 2m
  also          0.500s  SIGTERM
  pre-drain     1.300s  until it was quiet; the last connection came after 0.300s
  drain        15.000s
    connections    15.000s  done, 1 aborted
      GET /reports for 16s from 192.0.2.7:4711
  hooks         0.012s
    state           0.000s  failed: disk full
    pool            0.012s  done";
    assert_eq!(stopped.await.to_string(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_sees_each_phase_once_and_then_ends() {
    let lifecycle: Lifecycle = builder().build().unwrap();
    let mut phases = lifecycle.subscribe();
    assert_eq!(phases.phase(), Phase::Starting);
    lifecycle.mark_ready();
    assert_eq!(phases.changed().await, Some(Phase::Ready));
    timeout(ms(10), phases.changed()).await.unwrap_err();
    lifecycle.on_drain("work", async |_| sleep(ms(10)).await);
    drop(lifecycle.run());
    lifecycle.shutdown();
    assert_eq!(phases.changed().await, Some(Phase::PreDraining));
    assert_eq!(phases.changed().await, Some(Phase::Draining));
    assert_eq!(phases.changed().await, Some(Phase::Stopped));
    assert_eq!(phases.changed().await, None);
}
