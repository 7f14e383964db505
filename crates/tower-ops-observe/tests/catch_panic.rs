//! A panic that is caught is one all the same.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::any::Any;
use std::convert::Infallible;
use std::future::Ready;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::Full;
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_http::catch_panic::CatchPanicLayer as TowerHttpCatchPanic;
use tower_ops_observe::{CatchPanicLayer, CaughtPanic, Class, GrpcCode, ObserveLayer, Outcome};

#[path = "support/record.rs"]
mod record;
use record::Recorder;

type Answer = Response<Full<Bytes>>;

fn call() -> Request<()> {
    let request = Request::post("/a.B/C").header("content-type", "application/grpc-web");
    request.body(()).unwrap()
}

/// The future panics.
async fn late(_: Request<()>) -> Result<Answer, Infallible> {
    panic!("planned")
}

/// The call itself panics.
fn early(_: Request<()>) -> Ready<Result<Answer, Infallible>> {
    panic!("planned")
}

#[tokio::test]
async fn a_caught_panic_is_answered_in_plain_http() {
    let recorder = Recorder::new();
    let stack = ServiceBuilder::new()
        .layer(ObserveLayer::new(recorder.clone()))
        .layer(CatchPanicLayer::new());
    let response = stack
        .service(service_fn(late))
        .oneshot(Request::new(()))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(response.body().is_end_stream());
    drop(response);
    let ended = recorder.only();
    assert_eq!(ended.outcome, Outcome::Panicked);
    assert_eq!(ended.class, Class::ServerError);
    assert_eq!(ended.status, Some(StatusCode::INTERNAL_SERVER_ERROR));
}

#[tokio::test]
async fn a_caught_panic_is_answered_in_the_protocol_of_the_caller() {
    let recorder = Recorder::new();
    let stack = ServiceBuilder::new()
        .layer(ObserveLayer::new(recorder.clone()))
        .layer(CatchPanicLayer::new());
    let response = stack
        .service(service_fn(early))
        .oneshot(call())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/grpc-web");
    assert_eq!(response.headers()["grpc-status"], "13");
    drop(response);
    let ended = recorder.only();
    assert_eq!(ended.outcome, Outcome::Panicked);
    assert_eq!(ended.grpc, Some(GrpcCode::Internal));
}

#[tokio::test]
async fn a_service_that_does_not_panic_is_not_touched() {
    let recorder = Recorder::new();
    let service = CatchPanicLayer::new().layer(service_fn(async |_: Request<()>| {
        Err::<Answer, _>(BoxError::from("an error"))
    }));
    let error = ObserveLayer::new(recorder.clone())
        .layer(service)
        .oneshot(call())
        .await;
    assert_eq!(error.unwrap_err().to_string(), "an error");
    assert_eq!(recorder.only().outcome, Outcome::Failed);
}

#[tokio::test]
async fn every_layer_further_out_sees_the_mark() {
    let recorders = [(); 2].map(|()| Recorder::new());
    let [outer, inner] = recorders.clone();
    let stack = ServiceBuilder::new()
        .layer(ObserveLayer::new(outer))
        .layer(ObserveLayer::new(inner))
        .layer(CatchPanicLayer::new());
    drop(
        stack
            .service(service_fn(late))
            .oneshot(Request::new(()))
            .await,
    );
    for recorder in recorders {
        assert_eq!(recorder.only().outcome, Outcome::Panicked);
    }
}

fn marked(_: Box<dyn Any + Send>) -> Answer {
    let mut response = Response::new(Full::from("oh"));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    CaughtPanic::mark(&mut response);
    response
}

#[tokio::test]
async fn the_layer_of_tower_http_can_set_the_mark() {
    let recorder = Recorder::new();
    let stack = ServiceBuilder::new()
        .layer(ObserveLayer::new(recorder.clone()))
        .layer(TowerHttpCatchPanic::custom(marked));
    drop(
        stack
            .service(service_fn(late))
            .oneshot(Request::new(()))
            .await,
    );
    assert_eq!(recorder.only().outcome, Outcome::Panicked);
}

/// Panics again as it is dropped, and so does its payload.
struct PanicsTwice;

impl Drop for PanicsTwice {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("once more"));
    }
}

impl Future for PanicsTwice {
    type Output = Result<Answer, Infallible>;

    fn poll(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::panic::resume_unwind(Box::new(Self));
    }
}

#[tokio::test]
async fn a_future_that_panics_as_it_goes_is_caught_too() {
    let service = CatchPanicLayer::new().layer(service_fn(|_: Request<()>| PanicsTwice));
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}
