//! How tracked work that is no request ends, and to what it belongs.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::{pending, ready};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use tokio::time::{advance, timeout};
use tower::ServiceExt;
use tower_ops_observe::{Class, Phase};
use tower_ops_requests::{Kind, Metadata, Outcome, RequestHandle, RequestSnapshot, RequestTracker};
use tower_ops_testing::ScriptedBody;

#[path = "support/drive.rs"]
mod drive;
use drive::{get, poll, service};

type Nothing = Result<(), Infallible>;

fn last(tracker: &RequestTracker) -> RequestSnapshot {
    assert_eq!(tracker.in_flight_count(), 0);
    tracker.history().remove(0)
}

fn outcome(tracker: &RequestTracker) -> (Outcome, Class) {
    let last = last(tracker);
    (last.outcome.unwrap(), last.class.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_task_is_in_flight_from_its_call_on() {
    let tracker = RequestTracker::new();
    let task = tracker.track("ingest", [("file", "orders.csv")], ready(Nothing::Ok(())));
    advance(Duration::from_secs(2)).await;
    let running = &tracker.in_flight()[0];
    assert_eq!(running.kind, Kind::Task);
    assert_eq!(running.name.as_deref(), Some("ingest"));
    assert_eq!((running.method, running.route.clone()), (None, None));
    assert_eq!(running.age, Duration::from_secs(2));
    let json = serde_json::to_value(running).unwrap();
    assert_eq!(json["metadata"], serde_json::json!({"file": "orders.csv"}));
    assert_eq!(task.await, Ok(()));
    let ended = last(&tracker);
    assert_eq!(ended.outcome, Some(Outcome::Completed));
    assert_eq!(ended.class, Some(Class::Success));
    assert_eq!(ended.phase, Phase::Body);
    assert_eq!(ended.duration, Some(Duration::from_secs(2)));
}

#[tokio::test]
async fn an_error_fails_it_and_is_shown() {
    let tracker = RequestTracker::new();
    let _ = tracker
        .track("a", (), ready(Err::<(), _>(io::Error::other("disk full"))))
        .await;
    assert_eq!(outcome(&tracker), (Outcome::Failed, Class::ServerError));
    assert_eq!(last(&tracker).error.as_deref(), Some("disk full"));
    let _ = tracker.track("b", (), ready(Err::<(), _>("a text"))).await;
    assert_eq!(last(&tracker).error.as_deref(), Some("a text"));
    // An error that is no error type, and one that nothing is known of.
    let _ = tracker.track("c", (), ready(Err::<(), _>(7))).await;
    assert_eq!(outcome(&tracker), (Outcome::Failed, Class::ServerError));
    assert_eq!(last(&tracker).error, None);
}

#[test]
fn a_drop_cancels_it_polled_or_not() {
    let tracker = RequestTracker::new();
    drop(tracker.track("a", (), pending::<Nothing>()));
    assert_eq!(outcome(&tracker), (Outcome::Cancelled, Class::Cancelled));
    let mut task = tracker.track("b", (), pending::<Nothing>());
    assert!(poll(&mut task).is_pending());
    assert_eq!(tracker.in_flight_count(), 1);
    drop(task);
    assert_eq!(outcome(&tracker), (Outcome::Cancelled, Class::Cancelled));
    assert_eq!(tracker.history().len(), 2);
}

#[test]
fn a_panic_is_distinguished_from_a_drop_by_another_panic() {
    let tracker = RequestTracker::new();
    let own = AssertUnwindSafe(|| {
        let mut task = tracker.track("a", (), async { panic!("planned") as Nothing }.boxed());
        let _ = poll(&mut task);
    });
    assert!(catch_unwind(own).is_err());
    assert_eq!(outcome(&tracker), (Outcome::Panicked, Class::ServerError));
    let anothers = AssertUnwindSafe(|| {
        let _task = tracker.track("b", (), pending::<Nothing>());
        panic!("planned");
    });
    assert!(catch_unwind(anothers).is_err());
    assert_eq!(outcome(&tracker), (Outcome::Cancelled, Class::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_distinguished_from_an_error() {
    #[derive(Debug)]
    struct Outer(Box<dyn Error + Send + Sync>);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }
    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&*self.0)
        }
    }

    let tracker = RequestTracker::new();
    let timed_out = (Outcome::TimedOut, Class::Timeout);
    let limit = Duration::from_secs(1);

    let _ = tracker
        .track("a", (), timeout(limit, pending::<()>()))
        .await;
    assert_eq!(outcome(&tracker), timed_out);

    let io = io::Error::from(io::ErrorKind::TimedOut);
    let _ = tracker.track("b", (), ready(Err::<(), _>(io))).await;
    assert_eq!(outcome(&tracker), timed_out);

    let tower = Outer(Box::new(tower::timeout::error::Elapsed::new()));
    let boxed: Box<dyn Error + Send + Sync> = Box::new(io::Error::other(tower));
    let _ = tracker.track("c", (), ready(Err::<(), _>(boxed))).await;
    assert_eq!(outcome(&tracker), timed_out);

    let _ = tracker
        .track("d", (), ready(Err::<(), _>(io::Error::other("no"))))
        .await;
    assert_eq!(outcome(&tracker).0, Outcome::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_limit_ends_it_and_passes_the_rest_through() {
    let tracker = RequestTracker::new();
    let limit = Duration::from_secs(1);
    let late = tracker.track_timeout("a", (), limit, pending::<Nothing>());
    assert!(late.await.is_err());
    assert_eq!(outcome(&tracker), (Outcome::TimedOut, Class::Timeout));
    assert_eq!(last(&tracker).duration, Some(limit));

    let wrong = tracker.track_timeout("b", (), limit, ready(Err::<(), _>("wrong")));
    assert_eq!(wrong.await, Ok(Err("wrong")));
    assert_eq!(outcome(&tracker).0, Outcome::Failed);

    let good = tracker.track_timeout("c", (), limit, ready(Ok::<_, &str>(7)));
    assert_eq!(good.await, Ok(Ok(7)));
    assert_eq!(outcome(&tracker).0, Outcome::Completed);
}

#[tokio::test]
async fn nested_tasks_know_their_parents() {
    let tracker = RequestTracker::new();
    let inner = tracker.clone();
    let ids = tracker.track("outer", (), async move {
        let outer = RequestHandle::current().unwrap();
        let middle = inner.track("middle", (), async {
            let middle = RequestHandle::current().unwrap();
            let innermost = inner.track("inner", (), async {
                tokio::task::yield_now().await;
                Ok::<_, Infallible>(RequestHandle::current().unwrap().parent())
            });
            let parent = innermost.await?;
            // Back in the middle one after the innermost has been polled.
            assert_eq!(RequestHandle::current().unwrap().id(), middle.id());
            Ok::<_, Infallible>((middle.id(), middle.parent(), parent))
        });
        let (middle, parent_of_middle, parent_of_inner) = middle.await?;
        assert_eq!(parent_of_inner, Some(middle));
        assert_eq!(parent_of_middle, Some(outer.id()));
        assert_eq!(outer.parent(), None);
        Nothing::Ok(())
    });
    assert_eq!(ids.await, Ok(()));
    assert!(RequestHandle::current().is_none());
    let parents: Vec<_> = tracker.history().iter().map(|ended| ended.parent).collect();
    let ids: Vec<_> = tracker
        .history()
        .iter()
        .map(|ended| Some(ended.id))
        .collect();
    assert_eq!(parents, [None, ids[0], ids[1]]);
}

#[tokio::test]
async fn a_task_of_a_request_has_its_id_also_when_it_is_spawned() {
    let tracker = RequestTracker::new();
    let inside = tracker.clone();
    let handler = service(&tracker, move |_: Request<()>| {
        let job = inside.track("mail", (), async {
            let handle = RequestHandle::current().unwrap();
            assert_eq!(handle.request_id().as_deref(), Some("order-7"));
            Nothing::Ok(())
        });
        async {
            tokio::spawn(job).await.unwrap()?;
            let body = ScriptedBody::new().end_stream_flag(true);
            Ok::<_, Infallible>(Response::new(body))
        }
    });
    let mut request = get("/orders");
    let id = HeaderValue::from_static("order-7");
    request.headers_mut().insert("x-request-id", id);
    drop(handler.oneshot(request).await);
    let history = tracker.history();
    let (request, mail) = (&history[0], &history[1]);
    assert_eq!(mail.name.as_deref(), Some("mail"));
    assert_eq!(mail.request_id.as_deref(), Some("order-7"));
    assert_eq!(mail.parent, Some(request.id));
    assert_eq!(mail.path, None);
}

#[test]
fn what_a_future_does_in_its_drop_belongs_to_it() {
    struct NoteInDrop;
    impl Drop for NoteInDrop {
        fn drop(&mut self) {
            RequestHandle::current().unwrap().annotate("dropped", true);
        }
    }
    let tracker = RequestTracker::new();
    let guard = NoteInDrop;
    let future = async move {
        let _guard = guard;
        pending::<Nothing>().await
    };
    drop(tracker.track("a", (), future));
    let json = serde_json::to_value(last(&tracker)).unwrap();
    assert_eq!(json["metadata"]["dropped"], "true");
}

#[tokio::test]
async fn a_task_can_say_that_it_failed() {
    let tracker = RequestTracker::new();
    let task = tracker.track("a", Metadata::new().with("n", 1), async {
        RequestHandle::current().unwrap().fail("3 of 7 lines");
        Nothing::Ok(())
    });
    assert_eq!(task.await, Ok(()));
    assert_eq!(outcome(&tracker), (Outcome::Failed, Class::ServerError));
    assert_eq!(last(&tracker).reason.as_deref(), Some("3 of 7 lines"));
}

#[tokio::test]
async fn tasks_are_counted_by_name_and_apart_from_routes() {
    let tracker = RequestTracker::new();
    for _ in 0..2 {
        let _ = tracker.track("/same", (), ready(Nothing::Ok(()))).await;
    }
    drive::exchange(&tracker, "/x");
    let stats = tracker.stats();
    let routes: Vec<_> = stats
        .routes
        .iter()
        .map(|route| (route.route.as_str(), route.kind, route.total))
        .collect();
    assert_eq!(
        routes,
        [("/same", Kind::Task, 2), ("{unmatched}", Kind::Request, 1)]
    );
}

trait Boxed: Future + Sized {
    fn boxed(self) -> std::pin::Pin<Box<Self>> {
        Box::pin(self)
    }
}

impl<F: Future> Boxed for F {}
