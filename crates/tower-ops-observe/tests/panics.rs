//! How an exchange ends by a panic: its own, or somebody else's.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_ops_observe::{Class, ObserveLayer, Outcome};
use tower_ops_testing::ScriptedBody;

#[path = "support/drive.rs"]
mod drive;
#[path = "support/record.rs"]
mod record;
use drive::{STEP, TO_HEAD, after_head, before_head, body_of, cancelled, take};
use record::{Recorder, poll, poll_frame};

type Answer = Result<Response<ScriptedBody>, Infallible>;

fn broken() -> Answer {
    panic!("scripted panic of a service");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_call_is_a_panic() {
    let recorder = Recorder::new();
    let mut service =
        ObserveLayer::new(recorder.clone()).layer(service_fn(|_: Request<()>| ready(broken())));
    let call = AssertUnwindSafe(|| service.call(Request::new(())));
    assert!(catch_unwind(call).is_err());
    let expected = before_head(Outcome::Panicked, Class::ServerError, Duration::ZERO);
    assert_eq!(recorder.only(), expected);
    assert_eq!(record::scopes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_future_is_a_panic() {
    let recorder = Recorder::new();
    let service = ObserveLayer::new(recorder.clone()).layer(service_fn(async |_: Request<()>| {
        advance(TO_HEAD).await;
        broken()
    }));
    let task = tokio::spawn(service.oneshot(Request::new(())));
    assert!(task.await.unwrap_err().is_panic());
    let expected = before_head(Outcome::Panicked, Class::ServerError, TO_HEAD);
    assert_eq!(recorder.only(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_body_is_a_panic() {
    let recorder = Recorder::new();
    let script = ScriptedBody::new().data("ab").panic().data("late");
    // All announced bytes were sent; the panic weighs more.
    let mut body = body_of(&recorder, script.exact(2)).await;
    take(&mut body, 1).await;
    let task = tokio::spawn(async move { body.frame().await.is_some() });
    assert!(task.await.unwrap_err().is_panic());
    let expected = after_head(Outcome::Panicked, Class::ServerError, 2, 1);
    assert_eq!(recorder.only(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_panicked_and_is_dropped_later_panicked() {
    let recorder = Recorder::new();
    let mut body = body_of(&recorder, ScriptedBody::new().panic()).await;
    let polled = catch_unwind(AssertUnwindSafe(|| poll_frame(&mut body).is_ready()));
    assert!(polled.is_err());
    assert!(recorder.endings().is_empty());
    advance(STEP).await;
    drop(body);
    let expected = after_head(Outcome::Panicked, Class::ServerError, 0, 1);
    assert_eq!(recorder.only(), expected);
}

#[test]
fn a_panic_elsewhere_cancels_what_it_unwinds() {
    let recorder = Recorder::new();
    let mut service =
        ObserveLayer::new(recorder.clone()).layer(service_fn(|_: Request<()>| pending::<Answer>()));
    let mut future = service.call(Request::new(()));
    assert!(poll(&mut future).is_pending());
    let unrelated = AssertUnwindSafe(move || {
        let _future = future;
        panic!("scripted panic of somebody else");
    });
    assert!(catch_unwind(unrelated).is_err());
    assert_eq!(recorder.only().outcome, Outcome::CancelledBeforeHead);
}

#[tokio::test(start_paused = true)]
async fn a_panic_elsewhere_cancels_the_body_that_it_unwinds() {
    let recorder = Recorder::new();
    let mut body = body_of(&recorder, ScriptedBody::new().data("ab").data("c")).await;
    take(&mut body, 1).await;
    let unrelated = AssertUnwindSafe(move || {
        let _body = body;
        panic!("scripted panic of somebody else");
    });
    assert!(catch_unwind(unrelated).is_err());
    assert_eq!(recorder.only(), cancelled(2, 1));
}

#[test]
fn a_panic_of_an_exchange_cancels_those_that_it_held() {
    let (outer, inner) = (Recorder::new(), Recorder::new());
    let layer = ObserveLayer::outgoing(inner.clone());
    let mut service = ObserveLayer::new(outer.clone()).layer(service_fn(|_: Request<()>| {
        let client = layer.layer(service_fn(|_: Request<()>| pending::<Answer>()));
        let mut outgoing = Box::pin(client.oneshot(Request::new(())));
        async move {
            assert!(poll(&mut outgoing).is_pending());
            broken()
        }
    }));
    let mut future = Box::pin(service.call(Request::new(())));
    let polled = catch_unwind(AssertUnwindSafe(|| poll(&mut future).is_ready()));
    assert!(polled.is_err());
    drop(future);
    assert_eq!(outer.only().outcome, Outcome::Panicked);
    assert_eq!(inner.only().outcome, Outcome::CancelledBeforeHead);
}
