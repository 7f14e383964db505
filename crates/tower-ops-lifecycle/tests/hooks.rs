//! What runs at the end, in which order, and what each may do to the others.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::future::{Future, pending};
use std::io;

use tokio::time::sleep;
use tower_ops_lifecycle::{Hook, HookOutcome, Lifecycle, ShutdownReport};

use self::timed::{Journal, builder, ms, ready};

#[path = "support/timed.rs"]
mod timed;

async fn stop(lifecycle: &Lifecycle) -> ShutdownReport {
    lifecycle.shutdown();
    lifecycle.run().await
}

fn outcomes(report: &ShutdownReport) -> Vec<(&str, HookOutcome, u128)> {
    let hooks = report.hooks().iter();
    let outcome = hooks.map(|it| (&*it.name, it.outcome.clone(), it.took.as_millis()));
    outcome.collect()
}

#[tokio::test(start_paused = true)]
async fn the_last_registered_runs_first_and_telemetry_last() {
    let lifecycle = ready();
    let journal = Journal::default();
    let note = |name: &'static str| {
        let journal = journal.clone();
        move || async move {
            journal.write(format!("{name} begins"));
            sleep(ms(10)).await;
            journal.write(format!("{name} ends"));
        }
    };
    lifecycle.on_stop(Hook::new("traces").telemetry(), note("traces"));
    lifecycle.on_stop("pool", note("pool"));
    lifecycle.on_stop(Hook::new("logs").telemetry(), note("logs"));
    lifecycle.on_stop(String::from("cache"), note("cache"));

    let report = stop(&lifecycle).await;
    let expected = ["cache", "pool", "logs", "traces"];
    let each = expected.iter();
    let lines = each.flat_map(|it| [format!("{it} begins"), format!("{it} ends")]);
    let lines: Vec<_> = lines.collect();
    assert_eq!(journal.lines(), lines, "one after the other");
    let names: Vec<_> = report.hooks().iter().map(|it| &*it.name).collect();
    assert_eq!(names, expected);
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_panics_or_hangs_stops_nobody_else() {
    let lifecycle = ready();
    lifecycle.on_stop(Hook::new("traces").telemetry(), async || {
        sleep(ms(20)).await
    });
    lifecycle.on_stop("fine", async || Ok::<_, io::Error>(()));
    lifecycle.on_stop("fails", async || Err(io::Error::other("disk full")));
    lifecycle.on_stop("panics", async || -> () { panic!("in the future") });
    lifecycle.on_stop("panics in the call", call_that_panics);
    lifecycle.on_stop(Hook::new("hangs").timeout(ms(100)), async || {
        pending::<()>().await;
    });

    let report = stop(&lifecycle).await;
    assert_eq!(
        outcomes(&report),
        [
            ("hangs", HookOutcome::TimedOut, 100),
            (
                "panics in the call",
                HookOutcome::Panicked("in the call".into()),
                0
            ),
            ("panics", HookOutcome::Panicked("in the future".into()), 0),
            ("fails", HookOutcome::Failed("disk full".into()), 0),
            ("fine", HookOutcome::Done, 0),
            ("traces", HookOutcome::Done, 20),
        ]
    );
    assert!(!report.is_clean());
}

fn call_that_panics() -> impl Future<Output = ()> + Send {
    panic!("in the call");
    #[allow(unreachable_code, reason = "only for the type")]
    async {}
}

#[tokio::test(start_paused = true)]
async fn hooks_that_all_hang_have_equal_parts_and_all_are_heard() {
    let lifecycle = ready();
    for name in ["a", "b", "c", "d"] {
        lifecycle.on_stop(name, async || pending::<()>().await);
    }
    let report = stop(&lifecycle).await;
    let timed_out = |name| (name, HookOutcome::TimedOut, 1_250);
    let expected = ["d", "c", "b", "a"].map(timed_out);
    assert_eq!(outcomes(&report), expected);
    assert_eq!(report.hooks_took(), Some(ms(5_000)));
}

#[tokio::test(start_paused = true)]
async fn time_that_one_leaves_is_for_the_next() {
    let lifecycle = ready();
    lifecycle.on_stop("hangs", async || pending::<()>().await);
    lifecycle.on_stop("is quick", async || sleep(ms(500)).await);
    let report = stop(&lifecycle).await;
    assert_eq!(
        outcomes(&report),
        [
            ("is quick", HookOutcome::Done, 500),
            ("hangs", HookOutcome::TimedOut, 4_500),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_kept_where_there_is_enough_for_all() {
    let lifecycle = ready();
    lifecycle.on_stop(Hook::new("a").timeout(ms(2_000)), async || {
        pending::<()>().await;
    });
    lifecycle.on_stop(Hook::new("b").timeout(ms(3_000)), async || {
        pending::<()>().await;
    });
    let report = stop(&lifecycle).await;
    assert_eq!(
        outcomes(&report),
        [
            ("b", HookOutcome::TimedOut, 3_000),
            ("a", HookOutcome::TimedOut, 2_000)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_hangs_is_dropped() {
    struct OnDrop(Journal);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.write("dropped");
        }
    }
    let lifecycle = ready();
    let journal = Journal::default();
    let held = OnDrop(journal.clone());
    lifecycle.on_stop("hangs", async move || {
        let _held = held;
        pending::<()>().await;
    });
    stop(&lifecycle).await;
    tokio::task::yield_now().await;
    assert_eq!(journal.lines(), ["dropped"]);
}

#[tokio::test(start_paused = true)]
async fn a_hook_registered_by_a_hook_runs_and_one_after_the_end_does_not() {
    let lifecycle = ready();
    let journal = Journal::default();
    let (inner, late) = (lifecycle.clone(), journal.clone());
    lifecycle.on_stop("first", async move || {
        inner.on_stop("second", async move || late.write("second"));
    });
    let report = stop(&lifecycle).await;
    let names: Vec<_> = report.hooks().iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["first", "second"]);

    let late = journal.clone();
    lifecycle.on_stop("too late", async move || late.write("too late"));
    assert_eq!(lifecycle.run().await.hooks().len(), 2);
    assert_eq!(journal.lines(), ["second"]);
}

#[tokio::test(start_paused = true)]
async fn without_time_left_hooks_are_named_and_not_run() {
    let lifecycle = builder().build().unwrap();
    lifecycle.mark_ready();
    let journal = Journal::default();
    let run = journal.clone();
    lifecycle.on_stop("pool", async move || run.write("pool"));
    lifecycle.shutdown();
    sleep(ms(29_000)).await; // into the margin, before anybody takes it up
    let report = lifecycle.run().await;
    assert_eq!(outcomes(&report), [("pool", HookOutcome::NotRun, 0)]);
    assert!(journal.lines().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_blocks_its_thread_is_left_behind() {
    let lifecycle = builder()
        .pre_drain(ms(0))
        .hooks_timeout(ms(200))
        .build()
        .unwrap();
    lifecycle.mark_ready();
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    lifecycle.on_stop("after it", async || {});
    lifecycle.on_stop("blocks", async move || {
        // A thread that waits: what no future may do, and some do.
        let _ = blocked.recv();
    });
    let report = stop(&lifecycle).await;
    let found: Vec<_> = report.hooks().iter().map(|it| &it.outcome).collect();
    assert_eq!(found, [&HookOutcome::TimedOut, &HookOutcome::Done]);
    drop(release);
}
