//! Slow requests are reported while they run: once, and not if they are something else.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderValue, Response, header};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tokio::time::sleep;
use tower_ops_requests::RequestTracker;
use tower_ops_testing::ScriptedBody;

#[path = "support/drive.rs"]
mod drive;
use drive::{answer, get};

/// Counts what is counted under the one name.
#[derive(Default)]
struct Slow(Arc<AtomicU64>);

impl Recorder for Slow {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        assert_eq!(key.name(), "server_slow_requests_total");
        Counter::from_arc(Arc::clone(&self.0))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

struct Watched {
    tracker: RequestTracker,
    counted: Arc<AtomicU64>,
}

impl Watched {
    fn new() -> Self {
        let slow = Slow::default();
        let counted = Arc::clone(&slow.0);
        let tracker = RequestTracker::builder()
            .slow_after(Duration::from_secs(30))
            .recorder(Arc::new(slow))
            .build()
            .unwrap();
        tokio::spawn(tracker.watch());
        Self { tracker, counted }
    }

    fn count(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_is_reported_once_while_it_runs() {
    let watched = Watched::new();
    let response = answer(
        &watched.tracker,
        get("/"),
        Response::new(ScriptedBody::new().stalled()),
    );
    sleep(Duration::from_secs(29)).await;
    assert_eq!(watched.count(), 0);
    // It looks every 3 s.
    sleep(Duration::from_secs(4)).await;
    assert_eq!(watched.count(), 1);
    assert_eq!(watched.tracker.in_flight_count(), 1);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(watched.count(), 1);
    drop(response);
}

#[tokio::test(start_paused = true)]
async fn a_report_does_not_stick_to_the_record_when_it_is_used_again() {
    let watched = Watched::new();
    let open = || {
        let body = ScriptedBody::new().stalled();
        answer(&watched.tracker, get("/"), Response::new(body))
    };
    for reports in 1..=3 {
        // More than the history keeps, and one of them gets the record of the last slow one.
        let slow: Vec<_> = (0..2_000).map(|_| open()).collect();
        sleep(Duration::from_secs(40)).await;
        assert_eq!(watched.count(), reports * 2_000);
        drop(slow);
    }
}

#[tokio::test(start_paused = true)]
async fn what_ended_in_time_streams_and_tasks_are_not_reported() {
    let watched = Watched::new();
    drive::exchange(&watched.tracker, "/quick");
    let mut events = Response::new(ScriptedBody::new().stalled());
    let event_stream = HeaderValue::from_static("text/event-stream");
    events
        .headers_mut()
        .insert(header::CONTENT_TYPE, event_stream);
    let _stream = answer(&watched.tracker, get("/events"), events);
    let consumer = pending::<Result<(), Infallible>>();
    let _task = watched.tracker.track("consumer", (), consumer);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(watched.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_watch_ends_with_the_tracker_and_without_a_threshold_at_once() {
    let tracker = RequestTracker::new();
    let watch = tokio::spawn(tracker.watch());
    sleep(Duration::from_secs(60)).await;
    assert!(!watch.is_finished());
    drop(tracker);
    watch.await.unwrap();

    let silent = RequestTracker::builder().slow_after(None).build().unwrap();
    silent.watch().await;
}
