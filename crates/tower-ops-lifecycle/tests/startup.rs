//! Start-up steps: what makes a process ready, what stops it, what is recorded of each.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::convert::Infallible;
use std::error::Error as _;
use std::future::pending;
use std::io;

use tokio::time::{sleep, timeout};
use tower_ops_lifecycle::{Lifecycle, Phase, StepState, Trigger};

use self::timed::{Journal, builder, ms};

#[path = "support/timed.rs"]
mod timed;

async fn take(lifecycle: &Lifecycle, name: &'static str, millis: u64) {
    let work = async {
        sleep(ms(millis)).await;
        Ok::<_, Infallible>(())
    };
    lifecycle.step(name, work).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_when_all_registered_steps_are_done() {
    let lifecycle = builder()
        .expect_step("migrate")
        .expect_step("warm up")
        .build()
        .unwrap();
    take(&lifecycle, "extra", 5).await;
    take(&lifecycle, "migrate", 100).await;
    assert_eq!(lifecycle.phase(), Phase::Starting);
    assert!(!lifecycle.is_started());
    take(&lifecycle, "warm up", 20).await;
    assert_eq!(lifecycle.phase(), Phase::Ready);
    assert!(lifecycle.started().await);

    let report = lifecycle.startup_report();
    assert_eq!(report.ready_after, Some(ms(125)));
    let steps: Vec<_> = report
        .steps
        .iter()
        .map(|it| (&*it.name, it.began_after.unwrap(), it.took.unwrap()))
        .collect();
    let expected = [
        ("migrate", ms(5), ms(100)),
        ("warm up", ms(105), ms(20)),
        ("extra", ms(0), ms(5)),
    ];
    assert_eq!(steps, expected);
    let text = report.to_string();
    assert!(
        text.starts_with("ready after 0.125s\n  migrate     0.100s  done\n"),
        "{text}"
    );
    assert!(!lifecycle.mark_ready(), "it is already");
}

#[tokio::test(start_paused = true)]
async fn steps_that_were_not_registered_do_not_make_it_ready_but_are_waited_for() {
    let lifecycle = builder().build().unwrap();
    take(&lifecycle, "alone", 5).await;
    assert_eq!(lifecycle.phase(), Phase::Starting);
    assert!(lifecycle.mark_ready());

    let lifecycle = builder().expect_step("registered").build().unwrap();
    tokio::join!(
        take(&lifecycle, "other", 500),
        take(&lifecycle, "registered", 100),
        async {
            sleep(ms(200)).await;
            assert_eq!(lifecycle.phase(), Phase::Starting);
        }
    );
    assert_eq!(lifecycle.phase(), Phase::Ready);
    assert_eq!(lifecycle.startup_report().ready_after, Some(ms(500)));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_stops_the_start_with_its_name_and_cause() {
    let lifecycle = builder().expect_step("migrate").build().unwrap();
    let journal = Journal::default();
    let hook = journal.clone();
    lifecycle.on_stop("pool", async move || hook.write("pool"));
    let other = tokio::spawn({
        let lifecycle = lifecycle.clone();
        async move { lifecycle.step("other", pending::<io::Result<()>>()).await }
    });
    tokio::task::yield_now().await;

    let failing = async { Err::<(), _>(io::Error::other("connection refused")) };
    let error = lifecycle.step("migrate", failing).await.unwrap_err();
    assert_eq!(error.name(), "migrate");
    assert_eq!(
        error.to_string(),
        "the start-up step migrate failed: connection refused"
    );
    assert_eq!(error.source().unwrap().to_string(), "connection refused");
    assert!(other.await.unwrap().unwrap_err().is_interrupted());
    assert!(!lifecycle.started().await);
    assert!(!lifecycle.mark_ready());

    let report = lifecycle.run().await;
    assert_eq!(report.trigger(), Some(Trigger::FailedStart));
    assert_eq!(
        report.start_failure(),
        Some("migrate failed: connection refused")
    );
    assert!(!report.is_clean());
    assert_eq!(journal.lines(), ["pool"], "what was made is taken down");
    let steps = lifecycle.startup_report().steps;
    assert_eq!(
        steps[0].state,
        StepState::Failed("connection refused".into())
    );
    assert_eq!(steps[1].state, StepState::Interrupted(Trigger::FailedStart));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_panics_stops_the_start() {
    let lifecycle = builder().expect_step("warm up").build().unwrap();
    let work = async {
        if true {
            panic!("index {} of 2", 3);
        }
        Ok::<_, Infallible>(())
    };
    let error = lifecycle.step("warm up", work).await.unwrap_err();
    assert!(error.is_panic());
    assert_eq!(
        error.to_string(),
        "the start-up step warm up panicked: index 3 of 2"
    );
    assert_eq!(lifecycle.triggered_by(), Some(Trigger::FailedStart));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_was_dropped_can_be_run_again() {
    let lifecycle = builder().expect_step("connect").build().unwrap();
    let hung = lifecycle.step("connect", pending::<io::Result<()>>());
    timeout(ms(50), hung).await.unwrap_err();
    let report = lifecycle.startup_report();
    assert_eq!(report.steps[0].state, StepState::Dropped);
    assert_eq!(report.steps[0].took, Some(ms(50)));
    assert!(
        report
            .to_string()
            .starts_with("not ready\n  connect     0.050s  dropped")
    );

    take(&lifecycle, "connect", 10).await;
    assert_eq!(lifecycle.startup_report().steps.len(), 1);
    assert_eq!(lifecycle.phase(), Phase::Ready);
}

#[tokio::test(start_paused = true)]
async fn steps_that_wait_or_run_are_listed() {
    let lifecycle = builder().expect_step("later").build().unwrap();
    let now = lifecycle.step("now", async {
        sleep(ms(100)).await;
        let report = lifecycle.startup_report();
        assert_eq!(report.steps[0].state, StepState::Pending);
        assert_eq!(report.steps[0].took, None);
        assert_eq!(report.steps[1].state, StepState::Running);
        assert_eq!(report.steps[1].took, Some(ms(100)));
        Ok::<_, Infallible>(7)
    });
    assert_eq!(now.await.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_start_ends_with_a_shutdown() {
    let lifecycle = builder().build().unwrap();
    let (started, ()) = tokio::join!(lifecycle.started(), async {
        sleep(ms(10)).await;
        lifecycle.shutdown();
    });
    assert!(!started);
    assert_eq!(
        lifecycle.wait_for(Phase::Starting).await,
        Phase::PreDraining
    );
}
