//! The history: always the true last ones, whichever threads they ended on, and what a burst of
//! successes must not wash out.

use std::collections::HashSet;
use std::time::Duration;

use http::{Response, StatusCode};
use tokio::time::advance;
use tower_ops_requests::{RequestHandle, RequestSnapshot, RequestTracker};
use tower_ops_testing::ScriptedBody;

#[path = "support/drive.rs"]
mod drive;
use drive::{answer, elsewhere, exchange, get, handle};

fn paths(list: &[RequestSnapshot]) -> Vec<&str> {
    list.iter().filter_map(|one| one.path.as_deref()).collect()
}

fn fail(tracker: &RequestTracker, path: &str) {
    let mut response = Response::new(ScriptedBody::new().end_stream_flag(true));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    drop(answer(tracker, get(path), response));
}

#[tokio::test(start_paused = true)]
async fn the_last_so_many_are_shown_wherever_they_ended() {
    const LAST: usize = 100;
    let tracker = RequestTracker::builder().max_history(LAST).build().unwrap();
    // Threads in turns, each with a share of another size, so that some are long idle.
    let mut ended = Vec::new();
    for (turn, share) in [300, 7, 1, 90, 250, 3, 60, 2, 40].into_iter().enumerate() {
        advance(Duration::from_millis(1)).await;
        let names: Vec<String> = (0..share).map(|n| format!("/{turn}/{n}")).collect();
        elsewhere(|| names.iter().for_each(|path| exchange(&tracker, path)));
        ended.extend(names);
    }
    ended.reverse();
    let history = tracker.history();
    // Within a turn all end at the same moment of the paused clock, in the order of their ids.
    assert_eq!(paths(&history), &ended[..LAST]);
}

#[test]
fn threads_at_once_lose_nothing_and_show_nothing_twice() {
    const EACH: usize = 20_000;
    let tracker = RequestTracker::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let tracker = &tracker;
            scope.spawn(move || {
                (0..EACH).for_each(|n| exchange(tracker, &format!("/{thread}/{n}")))
            });
        }
    });
    let history = tracker.history();
    assert_eq!(history.len(), 1_000);
    let ids: HashSet<u64> = history.iter().map(|ended| ended.id).collect();
    assert_eq!(ids.len(), 1_000);
    assert_eq!(tracker.stats().total(), 4 * EACH as u64);
    assert!(history.is_sorted_by_key(|ended| ended.ended_ago));
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_successes_washes_out_neither_the_failed_nor_the_slowest() {
    let tracker = RequestTracker::builder().max_history(10).build().unwrap();
    fail(&tracker, "/failed");
    let slow = answer(&tracker, get("/slow"), Response::new(ScriptedBody::new()));
    advance(Duration::from_secs(3)).await;
    drop(slow);
    for _ in 0..1_000 {
        exchange(&tracker, "/quick");
    }
    assert!(
        paths(&tracker.history())
            .iter()
            .all(|path| *path == "/quick")
    );
    assert_eq!(paths(&tracker.failed()), ["/failed"]);
    assert_eq!(tracker.slowest()[0].path.as_deref(), Some("/slow"));
    assert_eq!(tracker.slowest().len(), 16);

    // After some minutes both are let go.
    advance(Duration::from_secs(601)).await;
    assert!(tracker.failed().is_empty());
    assert!(tracker.slowest().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_slowest_are_the_right_ones_in_their_order() {
    let tracker = RequestTracker::new();
    // On threads of their own, each of which keeps what it thinks is slow.
    for n in 1..=40u64 {
        let took = Duration::from_millis(n * 7 % 41);
        let open = answer(&tracker, get("/"), Response::new(ScriptedBody::new()));
        advance(took).await;
        elsewhere(|| drop(open));
        if n == 20 {
            // The rest falls into the next window.
            advance(Duration::from_secs(300)).await;
        }
    }
    let slowest = tracker.slowest();
    let millis: Vec<u128> = slowest.iter().map(|slow| slow.age.as_millis()).collect();
    assert_eq!(millis, (25..=40).rev().collect::<Vec<_>>());
}

#[test]
fn failures_are_bounded_and_the_latest_are_kept() {
    let tracker = RequestTracker::new();
    for n in 0..1_000 {
        fail(&tracker, &format!("/{n}"));
    }
    let failed = tracker.failed();
    assert_eq!(failed.len(), 64);
    assert_eq!(failed[0].path.as_deref(), Some("/999"));
}

#[test]
fn a_clients_own_errors_are_not_among_the_failed() {
    let tracker = RequestTracker::new();
    let mut response = Response::new(ScriptedBody::new().end_stream_flag(true));
    *response.status_mut() = StatusCode::NOT_FOUND;
    drop(answer(&tracker, get("/missing"), response));
    drop(handle(&tracker, get("/rejected"), || {
        RequestHandle::current().unwrap().reject("no money");
        Response::new(ScriptedBody::new().end_stream_flag(true))
    }));
    drop(answer(
        &tracker,
        get("/cut"),
        Response::new(ScriptedBody::new().stalled()),
    ));
    assert!(tracker.failed().is_empty());
}

#[test]
fn without_a_history_all_the_rest_works() {
    let tracker = RequestTracker::builder().without_history().build().unwrap();
    let open = answer(&tracker, get("/"), Response::new(ScriptedBody::new()));
    assert_eq!(tracker.in_flight().len(), 1);
    drop(open);
    fail(&tracker, "/");
    assert!(tracker.is_idle());
    assert!(tracker.history().is_empty());
    assert!(tracker.slowest().is_empty());
    assert!(tracker.failed().is_empty());
    assert_eq!(tracker.stats().total(), 2);
}
