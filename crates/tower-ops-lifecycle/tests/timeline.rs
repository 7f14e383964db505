//! The timeline of a shutdown, to the millisecond, whoever triggers it and when.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};

use tokio::time::{Instant, sleep};
use tower_ops_lifecycle::Phase::{Draining, PreDraining, Stopped};
use tower_ops_lifecycle::{
    HookOutcome, Lifecycle, ParticipantOutcome, Phase, PreDrainEnd, ShutdownEnding, ShutdownReport,
    Trigger,
};

use self::timed::{builder, ms, ready, watch};

#[path = "support/timed.rs"]
mod timed;

#[tokio::test(start_paused = true)]
async fn everything_hangs_and_it_is_over_in_time() {
    let lifecycle = ready();
    lifecycle.on_drain("stuck", async |_| pending().await);
    lifecycle.on_stop("hung", async || pending::<()>().await);
    let stopped = lifecycle.run();
    sleep(ms(700)).await;

    let phases = watch(&lifecycle);
    assert!(lifecycle.trigger(Trigger::Terminate));
    let report = stopped.await;

    let expected = [(PreDraining, 0), (Draining, 5_000), (Stopped, 26_000)];
    assert_eq!(phases.await, expected);
    assert_eq!(report.pre_drain(), Some(ms(5_000)));
    assert_eq!(report.drain(), Some(ms(16_000))); // 15 s, and 1 s to abort
    assert_eq!(report.hooks_took(), Some(ms(5_000)));
    assert_eq!(report.total(), ms(26_000));
    assert_eq!(report.uptime(), ms(26_700));
    assert_eq!(report.ending(), ShutdownEnding::Completed);
    assert_eq!(
        report.participants()[0].outcome,
        ParticipantOutcome::TimedOut
    );
    assert_eq!(report.hooks()[0].outcome, HookOutcome::TimedOut);
    assert!(!report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn with_nothing_to_wait_for_only_the_pre_drain_takes_time() {
    for trigger in [
        Trigger::Terminate,
        Trigger::Interrupt,
        Trigger::PreStop,
        Trigger::Api,
    ] {
        let lifecycle = ready();
        let stopped = lifecycle.run();
        let phases = watch(&lifecycle);
        lifecycle.trigger(trigger);
        let report = stopped.await;
        let expected = [(PreDraining, 0), (Stopped, 5_000)];
        // Draining and stopped in one moment: a watcher sees the last.
        assert_eq!(phases.await, expected, "{trigger}");
        assert_eq!(report.trigger(), Some(trigger));
        assert_eq!(report.pre_drain_end(), Some(PreDrainEnd::Full));
        assert!(report.is_clean());
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_in_the_start_up_interrupts_it_and_waits_for_nobody() {
    let lifecycle = builder().expect_step("migrate").build().unwrap();
    let stopped = lifecycle.run();
    let starting = tokio::spawn({
        let lifecycle = lifecycle.clone();
        async move {
            let hung = pending::<Result<(), Infallible>>();
            lifecycle.step("migrate", hung).await
        }
    });
    sleep(ms(300)).await;
    let phases = watch(&lifecycle);
    lifecycle.trigger(Trigger::Terminate);
    let error = starting.await.unwrap().unwrap_err();
    assert!(error.is_interrupted());
    let report = stopped.await;

    assert_eq!(report.total(), ms(0));
    assert_eq!(report.pre_drain_end(), Some(PreDrainEnd::Skipped));
    assert!(!lifecycle.is_started());
    assert!(!lifecycle.mark_ready(), "phases never go back");
    assert_eq!(lifecycle.phase(), Stopped);
    let phases: Vec<_> = phases.await.into_iter().map(|(phase, _)| phase).collect();
    assert!(!phases.contains(&Phase::Ready), "{phases:?}");
    let later = lifecycle
        .step("late", async { Ok::<_, Infallible>(()) })
        .await;
    assert!(later.unwrap_err().is_interrupted());
}

#[tokio::test(start_paused = true)]
async fn a_signal_in_the_start_up_waits_for_those_who_are_served_already() {
    // By its adapter, by its own word, by a connection.
    let serve: [fn(&Lifecycle); 3] = [
        |lifecycle| drop(lifecycle.with_deadline(pending::<()>())),
        Lifecycle::mark_serving,
        |lifecycle| lifecycle.activity().touch(),
    ];
    for serve in serve {
        let lifecycle = builder().build().unwrap();
        let stopped = lifecycle.run();
        serve(&lifecycle);
        lifecycle.trigger(Trigger::Terminate);
        assert_eq!(stopped.await.pre_drain(), Some(ms(5_000)));
    }
}

#[tokio::test(start_paused = true)]
async fn one_clock_whichever_trigger_comes_first() {
    let pairs = [
        (Trigger::PreStop, Trigger::Terminate),
        (Trigger::Terminate, Trigger::PreStop),
        (Trigger::PreStop, Trigger::PreStop),
        (Trigger::Api, Trigger::Interrupt),
        (Trigger::Interrupt, Trigger::Api),
    ];
    // Together, within the pre-drain, within the drain.
    for between in [0, 2_000, 7_000] {
        for (first, second) in pairs {
            let lifecycle = ready();
            lifecycle.on_drain("work", async |_| sleep(ms(4_000)).await);
            let stopped = lifecycle.run();
            let phases = watch(&lifecycle);
            assert!(lifecycle.trigger(first));
            sleep(ms(between)).await;
            assert!(!lifecycle.trigger(second));
            let report = stopped.await;

            let expected = [(PreDraining, 0), (Draining, 5_000), (Stopped, 9_000)];
            assert_eq!(phases.await, expected, "{first}, {second}, {between}");
            assert_eq!(report.trigger(), Some(first));
            assert_eq!(report.later_triggers(), [(second, ms(between))]);
            assert!(report.is_clean());
        }
    }
}

#[derive(Clone, Default)]
struct Exits(Arc<Mutex<Vec<(ShutdownReport, i32)>>>);

impl Exits {
    fn ready(&self) -> Lifecycle {
        let exits = self.clone();
        let exit = move |report: &ShutdownReport, code| {
            exits.0.lock().unwrap().push((report.clone(), code));
        };
        let lifecycle = builder().on_second_signal(exit).build().unwrap();
        lifecycle.mark_ready();
        lifecycle
    }

    fn codes(&self) -> Vec<i32> {
        self.0
            .lock()
            .unwrap()
            .iter()
            .map(|(_, code)| *code)
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_exits_at_once_wherever_it_comes() {
    let signals = [
        (Trigger::Terminate, Trigger::Terminate, 143),
        (Trigger::Terminate, Trigger::Interrupt, 130),
        (Trigger::Interrupt, Trigger::Terminate, 143),
        (Trigger::Interrupt, Trigger::Interrupt, 130),
    ];
    // At once, in the pre-drain, the drain, the hooks.
    for after in [0, 3_000, 10_000, 23_000] {
        for (first, second, code) in signals {
            let exits = Exits::default();
            let lifecycle = exits.ready();
            lifecycle.on_drain("stuck", async |_| pending().await);
            lifecycle.on_stop("hung", async || pending::<()>().await);
            lifecycle.on_stop("later", async || pending::<()>().await);
            let stopped = lifecycle.run();
            lifecycle.trigger(first);
            sleep(ms(after)).await;
            assert!(exits.codes().is_empty());
            lifecycle.trigger(second);
            // Already, without the driver having been polled.
            assert_eq!(exits.codes(), [code]);
            assert_eq!(lifecycle.phase(), Stopped);

            let report = stopped.await;
            assert_eq!(report.ending(), ShutdownEnding::SecondSignal(second));
            assert_eq!(report.total(), ms(after));
            assert_eq!(report.later_triggers(), [(second, ms(after))]);
            let hooks: Vec<_> = report.hooks().iter().map(|it| &*it.name).collect();
            assert_eq!(hooks, ["later", "hung"], "all are named, run or not");
            let began = if after == 23_000 {
                HookOutcome::Unfinished
            } else {
                HookOutcome::NotRun
            };
            assert_eq!(report.hooks()[0].outcome, began);
            let text = exits.0.lock().unwrap()[0].0.to_string();
            assert_eq!(text, report.to_string(), "one report");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_end_as_well_it_is_the_second_signal_that_exits() {
    let exits = Exits::default();
    let lifecycle = exits.ready();
    lifecycle.trigger(Trigger::PreStop);
    let report = lifecycle.run().await;
    // The kubelet's, after its hook: all is well.
    lifecycle.trigger(Trigger::Terminate);
    assert!(exits.codes().is_empty());
    lifecycle.trigger(Trigger::Terminate);
    assert_eq!(exits.codes(), [143]);
    let exit = exits.0.lock().unwrap()[0].0.to_string();
    assert_eq!(exit, report.to_string(), "the report stays what it was");
}

#[tokio::test(start_paused = true)]
async fn the_time_before_the_driver_counts() {
    for (late, pre_drain, drain, total) in [
        (3_000, 5_000, 16_000, 26_000),
        (6_000, 6_000, 16_000, 27_000),
        // 22 s is when the drain has to be over, so that the hooks keep their time.
        (20_000, 20_000, 3_000, 28_000),
        (29_000, 29_000, 1_000, 30_000),
    ] {
        let lifecycle = ready();
        lifecycle.on_drain("stuck", async |_| pending().await);
        lifecycle.on_stop("hung", async || pending::<()>().await);
        lifecycle.trigger(Trigger::PreStop);
        sleep(ms(late)).await;
        let report = lifecycle.run().await;
        assert_eq!(report.pre_drain(), Some(ms(pre_drain)), "{late}");
        assert_eq!(report.drain(), Some(ms(drain)), "{late}");
        assert_eq!(report.total(), ms(total), "{late}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_times_are_as_configured() {
    let lifecycle = builder()
        .pre_drain(ms(100))
        .drain_timeout(ms(200))
        .abort_timeout(ms(30))
        .hooks_timeout(ms(400))
        .margin(ms(0))
        .grace_period(ms(730))
        .build()
        .unwrap();
    lifecycle.mark_ready();
    lifecycle.on_drain("stuck", async |_| pending().await);
    lifecycle.on_stop("hung", async || pending::<()>().await);
    let began = Instant::now();
    lifecycle.shutdown();
    assert_eq!(lifecycle.exit_deadline(), Some(began + ms(730)));
    let report = lifecycle.run().await;
    assert_eq!(report.pre_drain(), Some(ms(100)));
    assert_eq!(report.drain(), Some(ms(230)));
    assert_eq!(report.hooks_took(), Some(ms(400)));
}
