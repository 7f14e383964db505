//! How work marks its own result, and adds notes.

use http::{Request, Response, StatusCode};
use tower::ServiceExt;
use tower_ops_observe::Class;
use tower_ops_requests::{Outcome, RequestHandle, RequestTracker};
use tower_ops_testing::ScriptedBody;

#[path = "support/drive.rs"]
mod drive;
use drive::{get, handle, service};

#[test]
fn a_handler_annotates_its_own_exchange() {
    let tracker = RequestTracker::new();
    let response = handle(&tracker, get("/"), || {
        let handle = RequestHandle::current().unwrap();
        handle.annotate("tenant", 7);
        handle.annotate("tenant", 8);
        Response::new(ScriptedBody::new().stalled())
    });
    let json = serde_json::to_value(&tracker.in_flight()[0]).unwrap();
    assert_eq!(json["metadata"], serde_json::json!({"tenant": "8"}));
    drop(response);
    let json = serde_json::to_value(&tracker.history()[0]).unwrap();
    assert_eq!(json["metadata"], serde_json::json!({"tenant": "8"}));
}

#[test]
fn notes_are_bounded() {
    let tracker = RequestTracker::new();
    drop(handle(&tracker, get("/"), || {
        let handle = RequestHandle::current().unwrap();
        for n in 0..1_000 {
            handle.annotate(&n.to_string(), "x".repeat(100_000));
        }
        Response::new(ScriptedBody::new())
    }));
    let ended = &tracker.history()[0];
    assert_eq!(ended.metadata_dropped, 984);
    let json = serde_json::to_value(ended).unwrap();
    let notes = json["metadata"].as_object().unwrap();
    assert_eq!(notes.len(), 16);
    assert!(
        notes
            .values()
            .all(|note| note.as_str().unwrap().len() == 256)
    );
}

#[test]
fn a_business_failure_overrides_a_completed_answer_and_nothing_worse() {
    let tracker = RequestTracker::new();
    let ended = |body: ScriptedBody, mark: fn(&RequestHandle)| {
        let mut body = Some(body);
        drop(handle(&tracker, get("/"), || {
            mark(&RequestHandle::current().unwrap());
            Response::new(body.take().unwrap())
        }));
        let ended = tracker.history().remove(0);
        let reason = ended.reason.unwrap();
        (ended.outcome.unwrap(), ended.class.unwrap(), reason)
    };
    let whole = || ScriptedBody::new().end_stream_flag(true);
    let why = || "no money".to_owned();
    assert_eq!(
        ended(whole(), |handle| handle.fail("no money")),
        (Outcome::Failed, Class::ServerError, why())
    );
    assert_eq!(
        ended(whole(), |handle| handle.reject("no money")),
        (Outcome::Completed, Class::ClientError, why())
    );
    assert_eq!(
        ended(ScriptedBody::new().stalled(), |handle| handle
            .fail("no money")),
        (Outcome::CancelledDuringBody, Class::Cancelled, why())
    );
    assert_eq!(tracker.stats().class(Class::ServerError), 1);
}

#[test]
fn after_the_end_notes_are_taken_and_verdicts_are_not() {
    let tracker = RequestTracker::new();
    let mut kept = None;
    drop(handle(&tracker, get("/"), || {
        kept = RequestHandle::current();
        Response::new(ScriptedBody::new().end_stream_flag(true))
    }));
    let kept = kept.unwrap();
    kept.annotate("late", true);
    kept.fail("too late");
    let ended = &tracker.history()[0];
    assert_eq!(ended.outcome, Some(Outcome::Completed));
    assert_eq!(ended.reason, None);
    assert_eq!(
        serde_json::to_value(ended).unwrap()["metadata"]["late"],
        "true"
    );
}

#[test]
fn the_current_one_is_that_which_is_polled() {
    let tracker = RequestTracker::new();
    assert!(RequestHandle::current().is_none());
    let mut ids = Vec::new();
    drop(handle(&tracker, get("/outer"), || {
        ids.push(RequestHandle::current().unwrap().id());
        drop(handle(&tracker, get("/inner"), || {
            ids.push(RequestHandle::current().unwrap().id());
            Response::new(ScriptedBody::new())
        }));
        ids.push(RequestHandle::current().unwrap().id());
        Response::new(ScriptedBody::new())
    }));
    assert!(RequestHandle::current().is_none());
    assert_eq!(ids[0], ids[2]);
    assert_ne!(ids[0], ids[1]);
    let history = tracker.history();
    let inner = history.iter().find(|ended| ended.id == ids[1]).unwrap();
    assert_eq!(inner.parent, Some(ids[0]));
}

#[tokio::test]
async fn there_is_an_extension_only_if_it_is_asked_for() {
    for asked in [false, true] {
        let mut builder = RequestTracker::builder();
        if asked {
            builder = builder.extension(true);
        }
        let tracker = builder.build().unwrap();
        let found = service(&tracker, async |request: Request<()>| {
            let handle = request.extensions().get::<RequestHandle>();
            handle.inspect(|handle| handle.annotate("by", "extension"));
            let mut response = Response::new(ScriptedBody::new());
            if handle.is_none() {
                *response.status_mut() = StatusCode::NOT_FOUND;
            }
            Ok::<_, std::convert::Infallible>(response)
        });
        let response = found.oneshot(get("/")).await.unwrap();
        assert_eq!(response.status() == StatusCode::OK, asked);
        let json = serde_json::to_value(&tracker.in_flight()[0]).unwrap();
        assert_eq!(json["metadata"]["by"] == "extension", asked);
    }
}
