//! Waiting for what runs: woken at the right time, whoever ends last, with an error that names what
//! did not end.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, Response, header};
use tokio::time::Instant;
use tower_ops_requests::{RequestTracker, WorkKind};
use tower_ops_testing::ScriptedBody;

#[path = "support/drive.rs"]
mod drive;
use drive::{Tracked, answer, exchange, get, poll};

const LIMIT: Duration = Duration::from_secs(15);

fn open(tracker: &RequestTracker, path: &str) -> Response<Tracked> {
    answer(
        tracker,
        get(path),
        Response::new(ScriptedBody::new().stalled()),
    )
}

fn open_stream(tracker: &RequestTracker) -> Response<Tracked> {
    let mut response = Response::new(ScriptedBody::new().stalled());
    let events = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, events);
    answer(tracker, get("/events"), response)
}

#[tokio::test(start_paused = true)]
async fn without_anything_in_flight_there_is_no_waiting() {
    let tracker = RequestTracker::new();
    exchange(&tracker, "/");
    assert!(tracker.is_idle());
    let start = Instant::now();
    tracker.wait_idle().await;
    assert_eq!(tracker.wait_idle_timeout(LIMIT).await.map_err(drop), Ok(()));
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn all_who_wait_are_woken_by_the_last_end() {
    let tracker = RequestTracker::new();
    let (first, second) = (open(&tracker, "/1"), open(&tracker, "/2"));
    let mut waiting = [(); 3].map(|()| Box::pin(tracker.wait_idle()));
    assert!(waiting.iter_mut().all(|one| poll(one).is_pending()));
    drop(first);
    assert!(waiting.iter_mut().all(|one| poll(one).is_pending()));
    drop(second);
    assert!(waiting.iter_mut().all(|one| poll(one).is_ready()));
}

#[tokio::test(start_paused = true)]
async fn an_end_in_time_is_no_timeout() {
    let tracker = RequestTracker::new();
    let response = open(&tracker, "/");
    let ender = tokio::spawn(async move {
        tokio::time::advance(LIMIT / 2).await;
        drop(response);
    });
    let start = Instant::now();
    assert!(tracker.wait_idle_timeout(LIMIT).await.is_ok());
    assert_eq!(start.elapsed(), LIMIT / 2);
    ender.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_still_runs_is_named_the_oldest_first() {
    let tracker = RequestTracker::builder()
        .peer(|_| "192.0.2.7:4711".parse().ok())
        .build()
        .unwrap();
    let _request = open(&tracker, "/secret/path");
    tokio::time::advance(Duration::from_secs(1)).await;
    let _task = tracker.track("ingest", (), pending::<Result<(), Infallible>>());
    let still = tracker.wait_idle_timeout(LIMIT).await.unwrap_err();
    assert_eq!(still.count(), 2);
    assert_eq!(still.requests()[1].name.as_deref(), Some("ingest"));
    assert_eq!(
        still.to_string(),
        "2 still running: GET {unmatched} for 16s from 192.0.2.7:4711; ingest for 15s"
    );
}

#[tokio::test(start_paused = true)]
async fn only_so_many_are_named() {
    let tracker = RequestTracker::new();
    let _open: Vec<_> = (0..150).map(|_| open(&tracker, "/")).collect();
    let still = tracker.wait_idle_timeout(LIMIT).await.unwrap_err();
    assert_eq!((still.count(), still.requests().len()), (150, 100));
    assert!(still.to_string().ends_with("; and 50 more"));
}

#[tokio::test(start_paused = true)]
async fn streams_are_not_waited_for_unless_asked_for() {
    let tracker = RequestTracker::new();
    let stream = open_stream(&tracker);
    assert!(tracker.wait_idle_timeout(LIMIT).await.is_ok());
    drop(stream);

    let strict = RequestTracker::builder().exempt([]).build().unwrap();
    let stream = open_stream(&strict);
    let still = strict.wait_idle_timeout(LIMIT).await.unwrap_err();
    assert_eq!(still.requests()[0].kind, WorkKind::Stream);
    drop(stream);
    assert!(strict.wait_idle_timeout(LIMIT).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_waited_for_where_only_requests_are_exempt() {
    let tracker = RequestTracker::builder()
        .exempt([WorkKind::Request])
        .build()
        .unwrap();
    let request = open(&tracker, "/");
    assert!(tracker.is_idle());
    let stream = open_stream(&tracker);
    let still = tracker.wait_idle_timeout(LIMIT).await.unwrap_err();
    assert_eq!(still.count(), 1);
    assert_eq!(still.requests()[0].kind, WorkKind::Stream);
    drop(request);
    assert!(!tracker.is_idle());
    drop(stream);
    assert!(tracker.wait_idle_timeout(LIMIT).await.is_ok());
}

#[tokio::test]
async fn a_request_that_turns_out_to_be_a_stream_is_let_go() {
    let tracker = RequestTracker::new();
    let mut waiting = Box::pin(tracker.wait_idle());
    let (send, receive) = tokio::sync::oneshot::channel();
    let mut receive = Some(receive);
    let mut service = drive::service(&tracker, move |_| {
        let receive = receive.take().expect("one call");
        async {
            let response: Response<ScriptedBody> = receive.await.expect("an answer");
            Ok::<_, Infallible>(response)
        }
    });
    use tower::{Service, ServiceExt};
    let mut future = Box::pin(service.ready().await.unwrap().call(get("/events")));
    assert!(poll(&mut future).is_pending());
    assert!(poll(&mut waiting).is_pending());
    let mut response = Response::new(ScriptedBody::new().stalled());
    let events = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, events);
    assert!(send.send(response).is_ok());
    let Poll::Ready(Ok(stream)) = poll(&mut future) else {
        panic!("the answer was sent");
    };
    assert!(poll(&mut waiting).is_ready());
    assert_eq!(tracker.in_flight_count(), 1);
    drop(stream);
    assert!(tracker.is_idle());
}

#[tokio::test(start_paused = true)]
async fn tasks_can_be_exempt() {
    let tracker = RequestTracker::builder()
        .exempt([WorkKind::Task, WorkKind::Stream])
        .build()
        .unwrap();
    let _task = tracker.track("consumer", (), pending::<Result<(), Infallible>>());
    assert!(tracker.wait_idle_timeout(LIMIT).await.is_ok());
}

/// 100,000 exchanges on four threads, ended on others than they began on, while somebody waits
/// over and over. A wake-up that is missed would let this hang.
#[test]
fn no_wake_up_is_missed() {
    const EXCHANGES: usize = 100_000;
    const THREADS: usize = 4;
    let tracker = RequestTracker::builder().max_history(10).build().unwrap();
    let waits = Arc::new(AtomicUsize::new(0));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let waiter = {
        let (tracker, waits) = (tracker.clone(), Arc::clone(&waits));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(async {
                while !*stopped.borrow() {
                    tracker.wait_idle().await;
                    waits.fetch_add(1, Ordering::Relaxed);
                }
            });
        })
    };
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS)
        .map(|_| std::sync::mpsc::sync_channel::<Response<Tracked>>(1))
        .unzip();
    std::thread::scope(|scope| {
        for receiver in receivers {
            // Ends what another thread began, one at a time: it is idle now and again.
            scope.spawn(move || receiver.into_iter().for_each(drop));
        }
        for sender in senders {
            let tracker = &tracker;
            scope.spawn(move || {
                for _ in 0..EXCHANGES / THREADS {
                    sender.send(open(tracker, "/")).unwrap();
                }
            });
        }
    });
    stop.send(true).unwrap();
    waiter.join().unwrap();
    assert_eq!(tracker.in_flight_count(), 0);
    assert_eq!(tracker.stats().total(), EXCHANGES as u64);
    assert!(waits.load(Ordering::Relaxed) > 0);
}
