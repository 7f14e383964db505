//! The pre-drain ends early when no new connection comes, if that is configured.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use tokio::time::{Instant, sleep};
use tower_ops_lifecycle::{PreDrainEnd, Trigger};

use self::timed::{builder, ms};

#[path = "support/timed.rs"]
mod timed;

/// Connections come at those times after the trigger.
async fn pre_drain(connections: &[u64]) -> (u128, PreDrainEnd, Option<u128>) {
    let lifecycle = builder().wait_for_quiet(ms(1_000)).build().unwrap();
    let activity = lifecycle.activity();
    activity.touch();
    lifecycle.mark_ready();
    sleep(ms(10_000)).await;
    let stopped = lifecycle.run();
    let triggered = Instant::now();
    lifecycle.trigger(Trigger::Terminate);
    let connections = connections.to_vec();
    let clients = tokio::spawn(async move {
        for at in connections {
            tokio::time::sleep_until(triggered + ms(at)).await;
            activity.touch();
        }
    });
    let report = stopped.await;
    clients.await.unwrap();
    (
        report.pre_drain().unwrap().as_millis(),
        report.pre_drain_end().unwrap(),
        report.last_connection().map(|after| after.as_millis()),
    )
}

#[tokio::test(start_paused = true)]
async fn it_ends_a_window_after_the_last_connection() {
    assert_eq!(pre_drain(&[]).await, (1_000, PreDrainEnd::Quiet, None));
    let one = pre_drain(&[400]).await;
    assert_eq!(one, (1_400, PreDrainEnd::Quiet, Some(400)));
    let more = pre_drain(&[100, 900, 1_800]).await;
    assert_eq!(more, (2_800, PreDrainEnd::Quiet, Some(1_800)));
    // Just before it would have been quiet.
    let late = pre_drain(&[999]).await;
    assert_eq!(late, (1_999, PreDrainEnd::Quiet, Some(999)));
}

#[tokio::test(start_paused = true)]
async fn it_never_takes_longer_than_without() {
    let often: Vec<_> = (1..20).map(|n| n * 500).collect();
    let busy = pre_drain(&often).await;
    assert_eq!(busy.0, 5_000);
    assert_eq!(busy.1, PreDrainEnd::Full);
    let last = pre_drain(&[900, 1_800, 2_700, 3_600, 4_500]).await;
    assert_eq!(last, (5_000, PreDrainEnd::Full, Some(4_500)));
}

#[tokio::test(start_paused = true)]
async fn a_closure_can_be_the_source_as_well() {
    let began = Instant::now();
    let lifecycle = builder()
        .wait_for_quiet(ms(1_000))
        .last_connection(move || Some(began + ms(2_500)))
        .build()
        .unwrap();
    lifecycle.mark_ready();
    lifecycle.shutdown();
    let report = lifecycle.run().await;
    assert_eq!(report.pre_drain(), Some(ms(3_500)));
    assert_eq!(report.pre_drain_end(), Some(PreDrainEnd::Quiet));
}

#[tokio::test(start_paused = true)]
async fn without_a_source_it_takes_its_full_time() {
    let silent = builder().wait_for_quiet(ms(1_000)).build().unwrap();
    let panics = builder()
        .wait_for_quiet(ms(1_000))
        .last_connection(|| panic!("no such table"))
        .build()
        .unwrap();
    for lifecycle in [silent, panics] {
        lifecycle.mark_ready();
        lifecycle.shutdown();
        let report = lifecycle.run().await;
        assert_eq!(report.pre_drain(), Some(ms(5_000)));
        assert_eq!(report.pre_drain_end(), Some(PreDrainEnd::Full));
    }
}
