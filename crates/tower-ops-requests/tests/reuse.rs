//! Records are used again, and nobody notices.

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::ready;
use std::task::{Context, Poll, Waker};

use http::{HeaderValue, Request, Response, header};
use tower::{Layer, Service};
use tower_ops_observe::RouteHook;
use tower_ops_requests::{RequestHandle, RequestSnapshot, RequestTracker};
use tower_ops_testing::{Readied, ScriptedBody};

#[path = "support/drive.rs"]
mod drive;
use drive::{answer, exchange, get, handle, poll, poll_frame};

#[derive(Clone)]
struct Peer;

fn tracker() -> RequestTracker {
    RequestTracker::builder()
        .max_history(1)
        .peer(|extensions| {
            extensions
                .get::<Peer>()
                .map(|_| ([192, 0, 2, 7], 4711).into())
        })
        .build()
        .expect("a valid configuration")
}

/// An exchange that has all that an exchange can have.
fn rich(tracker: &RequestTracker) {
    let mut request = get("/a/long/path/with/many/letters");
    let id = HeaderValue::from_static("order-7");
    request.headers_mut().insert("x-request-id", id);
    request.extensions_mut().insert(Peer);
    let handler = Readied::from_fn(|_: Request<()>| {
        let handle = RequestHandle::current().expect("a current one");
        handle.annotate("tenant", 7);
        handle.fail("no money");
        let mut response = Response::new(ScriptedBody::new().data("hello"));
        let events = HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, events);
        ready(Ok::<_, Infallible>(response))
    });
    let mut service = tracker
        .layer()
        .layer(RouteHook::named("/rich").layer(handler));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let Poll::Ready(Ok(response)) = poll(&mut service.call(request)) else {
        panic!("a ready answer is there at once");
    };
    let mut body = response.into_body();
    while poll_frame(&mut body).is_ready() {
        if tracker.in_flight_count() == 0 {
            break;
        }
    }
}

fn is_plain(one: &RequestSnapshot) -> bool {
    let json = serde_json::to_value(one).expect("a snapshot");
    one.path.as_deref() == Some("/")
        && one.kind == tower_ops_requests::WorkKind::Request
        && one.bytes_sent == 0
        && one.peer.is_none()
        && ["request_id", "route", "reason", "error"].map(|field| json[field].is_null())
            == [true; 4]
        && json["metadata"] == serde_json::json!({})
}

#[test]
fn nothing_of_the_one_before_is_seen() {
    for history in [true, false] {
        let tracker = if history {
            tracker()
        } else {
            RequestTracker::builder().without_history().build().unwrap()
        };
        for _ in 0..1_000 {
            rich(&tracker);
        }
        for _ in 0..1_000 {
            let open = answer(&tracker, get("/"), Response::new(ScriptedBody::new()));
            let running = &tracker.in_flight()[0];
            assert!(is_plain(running), "{running:?}");
            assert_eq!((running.duration, running.time_to_head), (None, None));
            drop(open);
            assert!(tracker.history().iter().all(is_plain));
        }
    }
}

#[test]
fn every_one_has_an_id_of_its_own() {
    let tracker = tracker();
    let mut ids = HashSet::new();
    for _ in 0..1_000 {
        let _open = answer(&tracker, get("/"), Response::new(ScriptedBody::new()));
        assert!(ids.insert(tracker.in_flight()[0].id));
    }
}

#[test]
fn a_handle_that_is_kept_stays_that_of_its_own_work() {
    let tracker = tracker();
    let mut kept = None;
    drop(handle(&tracker, get("/kept"), || {
        kept = RequestHandle::current();
        Response::new(ScriptedBody::new())
    }));
    let kept = kept.unwrap();
    let id = kept.id();
    for _ in 0..1_000 {
        exchange(&tracker, "/");
        kept.annotate("still", "there");
    }
    assert_eq!(kept.id(), id);
    assert!(tracker.history().iter().all(is_plain));
}
