//! What a service is promised by the layer around it, and what it is not to notice.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::fmt::Debug;
use std::future::{Ready, ready};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use tower::{Layer, Service, ServiceExt};
use tower_ops_observe::{ObserveLayer, ObserveService, Outcome, ResponseBody, ResponseFuture};
use tower_ops_testing::{Readied, ScriptedBody, ScriptedError};

#[path = "support/record.rs"]
mod record;
use record::{Recorder, poll, poll_frame};

fn poll_ready<S: Service<Request<()>>>(service: &mut S) -> Poll<Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

async fn empty(_: Request<()>) -> Result<Response<ScriptedBody>, Infallible> {
    Ok(Response::new(ScriptedBody::new()))
}

/// Fails in its readiness, then in its answer, each time with an error of its own type.
#[derive(Clone, Default)]
struct Failing {
    ready: bool,
}

#[derive(Debug, PartialEq)]
enum Failure {
    Readiness,
    Answer,
}

impl Service<Request<()>> for Failing {
    type Response = Response<ScriptedBody>;
    type Error = Failure;
    type Future = Ready<Result<Self::Response, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.ready {
            return Poll::Ready(Ok(()));
        }
        self.ready = true;
        Poll::Ready(Err(Failure::Readiness))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Err(Failure::Answer))
    }
}

/// Notes whether its methods were called; neither `Clone` nor `Debug`.
struct Unclonable<'a> {
    calls: &'a mut usize,
}

impl Service<Request<()>> for Unclonable<'_> {
    type Response = Response<ScriptedBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        *self.calls += 1;
        ready(Ok(Response::new(ScriptedBody::new())))
    }
}

#[test]
fn the_readied_instance_is_the_one_called() {
    // `Readied` panics in any other.
    let mut service =
        ObserveLayer::new(Recorder::new()).layer(Readied::from_fn(empty).pending_readiness(2));
    for _ in 0..3 {
        assert!(poll_ready(&mut service).is_pending());
        assert!(poll_ready(&mut service).is_pending());
        assert_eq!(poll_ready(&mut service), Poll::Ready(Ok(())));
        let mut future = Box::pin(service.call(Request::new(())));
        assert!(poll(&mut future).is_ready());
    }
}

#[test]
#[should_panic(expected = "not polled ready")]
fn a_clone_has_no_readiness() {
    let mut service = ObserveLayer::new(Recorder::new()).layer(Readied::from_fn(empty));
    assert!(poll_ready(&mut service).is_ready());
    let _future = service.clone().call(Request::new(()));
}

#[test]
fn a_clone_leaves_the_readiness_of_its_original() {
    let mut service = ObserveLayer::new(Recorder::new()).layer(Readied::from_fn(empty));
    assert!(poll_ready(&mut service).is_ready());
    drop(service.clone());
    let _future = service.call(Request::new(()));
}

#[test]
fn clones_of_service_and_layer_share_the_observer() {
    let recorder = Recorder::new();
    let layer = ObserveLayer::new(recorder.clone());
    let service = layer.layer(Readied::from_fn(empty));
    let clone = layer.clone();
    drop(layer);
    let other = clone.layer(Readied::from_fn(empty));
    for mut service in [service.clone(), service, other] {
        assert!(poll_ready(&mut service).is_ready());
        drop(service.call(Request::new(())));
    }
    assert_eq!(recorder.requests(), 3);
    assert_eq!(recorder.endings().len(), 3);
}

#[test]
fn a_service_dropped_before_its_call_began_no_exchange() {
    let recorder = Recorder::new();
    let mut service = ObserveLayer::new(recorder.clone()).layer(Readied::from_fn(empty));
    assert!(poll_ready(&mut service).is_ready());
    drop(service);
    assert_eq!(recorder.requests(), 0);
    assert!(recorder.endings().is_empty());
}

#[test]
fn errors_of_readiness_and_answer_pass_untouched() {
    let recorder = Recorder::new();
    let mut service = ObserveLayer::new(recorder.clone()).layer(Failing::default());
    assert_eq!(
        poll_ready(&mut service),
        Poll::Ready(Err(Failure::Readiness))
    );
    assert_eq!(recorder.requests(), 0, "a failed readiness is no exchange");

    assert_eq!(poll_ready(&mut service), Poll::Ready(Ok(())));
    let Poll::Ready(Err(error)) = poll(&mut service.call(Request::new(()))) else {
        panic!("an error");
    };
    assert_eq!(error, Failure::Answer);
    assert_eq!(recorder.only().outcome, Outcome::Failed);
}

#[tokio::test]
async fn the_request_and_the_head_pass_untouched() {
    let service = Readied::from_fn(async |request: Request<&'static str>| {
        let (head, body) = request.into_parts();
        assert_eq!(head.method, "PATCH");
        assert_eq!(head.uri, "/a?b");
        assert_eq!(head.headers["x-in"], "1");
        assert_eq!(head.headers.len(), 1);
        assert!(head.extensions.is_empty(), "no extension of its own");
        assert_eq!(body, "body");
        let response = Response::builder().status(418).header("x-out", "2");
        Ok::<_, Infallible>(response.body(ScriptedBody::new()).unwrap())
    });
    let request = Request::patch("/a?b").header("x-in", "1").body("body");
    let service = ObserveLayer::new(Recorder::new()).layer(service);
    let response = service.oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 418);
    assert_eq!(response.headers()["x-out"], "2");
    assert_eq!(response.headers().len(), 1);
    assert!(response.extensions().is_empty());
}

/// All that a consumer can see of a frame.
fn shown(
    frame: Poll<Option<Result<Frame<Bytes>, ScriptedError>>>,
) -> Poll<Option<Result<(Option<Bytes>, Option<HeaderMap>), ScriptedError>>> {
    frame.map_ok(|frame| (frame.data_ref().cloned(), frame.trailers_ref().cloned()))
}

/// Compares a body with itself in the layer: hints and flags before every poll, and what came.
async fn assert_unchanged(script: impl Fn() -> ScriptedBody) {
    let mut alone = script();
    let inner = script();
    let probe = inner.probe();
    let inner = std::sync::Mutex::new(Some(inner));
    let service = Readied::from_fn(|_: Request<()>| {
        ready(Ok::<_, Infallible>(Response::new(
            inner.lock().unwrap().take().unwrap(),
        )))
    });
    let response = ObserveLayer::new(Recorder::new())
        .layer(service)
        .oneshot(Request::new(()));
    let mut wrapped = response.await.unwrap().into_body();
    // Some polls more than there are steps: it goes on passing them after the end.
    for _ in 0..8 {
        assert_eq!(wrapped.is_end_stream(), alone.is_end_stream());
        assert_eq!(wrapped.size_hint().lower(), alone.size_hint().lower());
        assert_eq!(wrapped.size_hint().upper(), alone.size_hint().upper());
        assert_eq!(
            shown(poll_frame(&mut wrapped)),
            shown(poll_frame(&mut alone))
        );
    }
    assert_eq!(probe.polls(), 8);
    drop(wrapped);
    assert!(probe.is_dropped());
}

#[tokio::test]
async fn bodies_pass_unchanged() {
    let mut trailers = HeaderMap::new();
    trailers.append("x-sum", "3".parse().unwrap());
    trailers.append("x-sum", "4".parse().unwrap());

    let abc = || ScriptedBody::new().data("ab").data("").pending().data("c");
    assert_unchanged(ScriptedBody::new).await;
    assert_unchanged(|| ScriptedBody::new().end_stream_flag(true)).await;
    assert_unchanged(|| abc().exact(3)).await;
    assert_unchanged(|| abc().at_least(2)).await;
    assert_unchanged(|| abc().exact(3).end_stream_flag(true)).await;
    assert_unchanged(|| abc().trailers(trailers.clone())).await;
    assert_unchanged(|| abc().trailers(trailers.clone()).end_stream_flag(true)).await;
    // What comes after an error, an end or trailers is the body's affair.
    assert_unchanged(|| abc().error("lost").data("found")).await;
    assert_unchanged(|| abc().trailers(trailers.clone()).data("late")).await;
}

#[test]
fn a_default_body_is_that_of_the_inner_and_of_no_exchange() {
    let mut body = ResponseBody::<ScriptedBody, Recorder>::default();
    assert!(!body.is_end_stream());
    assert!(matches!(poll_frame(&mut body), Poll::Ready(None)));

    let body = ResponseBody::<http_body_util::Full<Bytes>, Recorder>::default();
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
}

#[tokio::test]
async fn a_service_needs_neither_clone_nor_static() {
    let mut calls = 0;
    let recorder = Recorder::new();
    let mut service = ObserveLayer::new(recorder.clone()).layer(Unclonable { calls: &mut calls });
    for _ in 0..2 {
        let service = service.ready().await.unwrap();
        drop(service.call(Request::new(())).await.unwrap());
    }
    assert_eq!(recorder.endings().len(), 2);
    assert_eq!(calls, 2);
}

#[test]
#[should_panic(expected = "polled after it had completed")]
fn a_completed_future_is_not_polled_again() {
    let mut service = ObserveLayer::new(Recorder::new()).layer(Failing { ready: true });
    let mut future = service.call(Request::new(()));
    assert!(poll(&mut future).is_ready());
    let _ = poll(&mut future);
}

#[test]
fn the_inner_service_can_be_reached() {
    let mut service = ObserveLayer::new(Recorder::new()).layer(Failing { ready: false });
    service.get_mut().ready = true;
    assert!(service.get_ref().ready);
    assert!(service.into_inner().ready);
}

#[test]
fn types_can_be_sent_shared_and_debugged() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    fn unpin<T: Unpin>() {}
    fn debug<T: Debug>() {}

    send::<ObserveLayer<Recorder>>();
    sync::<ObserveLayer<Recorder>>();
    debug::<ObserveLayer<Recorder>>();
    send::<ObserveService<Failing, Recorder>>();
    sync::<ObserveService<Failing, Recorder>>();
    debug::<ObserveService<String, Recorder>>();
    send::<ResponseFuture<Ready<()>, Recorder>>();
    sync::<ResponseFuture<Ready<()>, Recorder>>();
    unpin::<ResponseFuture<Ready<()>, Recorder>>();
    debug::<ResponseFuture<Ready<()>, Recorder>>();
    send::<ResponseBody<ScriptedBody, Recorder>>();
    sync::<ResponseBody<ScriptedBody, Recorder>>();
    unpin::<ResponseBody<ScriptedBody, Recorder>>();
    debug::<ResponseBody<ScriptedBody, Recorder>>();
}
