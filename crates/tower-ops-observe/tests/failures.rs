//! How an exchange ends by an error, and which errors are timeouts.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::{pending, ready};
use std::io;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::time::advance;
use tower::timeout::TimeoutLayer;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_ops_observe::{Class, ObserveLayer, Outcome};
use tower_ops_testing::{Readied, ScriptedBody};

#[path = "support/drive.rs"]
mod drive;
#[path = "support/record.rs"]
mod record;
use drive::{TO_HEAD, after_head, before_head, body_of, take};
use record::{Ended, Recorder, poll};

#[tokio::test(start_paused = true)]
async fn an_error_of_the_body_is_a_failed_body() {
    let recorder = Recorder::new();
    let script = ScriptedBody::new().data("ab").error("lost").data("late");
    let mut body = body_of(&recorder, script.exact(2)).await;
    assert!(matches!(take(&mut body, 2).await, Some(Err(_))));
    // Of a type that cannot be looked into.
    let expected = after_head(Outcome::BodyFailed, Class::ServerError, 2, 2);
    assert_eq!(recorder.only(), expected);

    take(&mut body, 2).await;
    drop(body);
    assert_eq!(recorder.only(), expected);
    assert_eq!(recorder.data(), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_within_the_body_is_a_failed_body_with_its_error() {
    let recorder = Recorder::new();
    let service = Readied::from_fn(async |_: Request<()>| {
        let body = ScriptedBody::new().error("lost");
        let body = body.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "too late"));
        Ok::<_, Infallible>(Response::new(Box::pin(body)))
    });
    let service = ObserveLayer::new(recorder.clone()).layer(service);
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(recorder.only().outcome, Outcome::BodyFailed);
    assert_eq!(recorder.only().error.as_deref(), Some("too late"));
}

/// How an exchange ends if its service fails with this error after [`TO_HEAD`].
async fn end_by_error<E: 'static>(error: E) -> Ended {
    let recorder = Recorder::new();
    let mut error = Some(error);
    let mut service = ObserveLayer::new(recorder.clone()).layer(service_fn(|_: Request<()>| {
        ready(Err::<Response<ScriptedBody>, _>(error.take().unwrap()))
    }));
    let future = service.call(Request::new(()));
    advance(TO_HEAD).await;
    assert!(future.await.is_err());
    recorder.only()
}

fn failed(message: &str) -> Ended {
    Ended {
        error: Some(message.to_owned()),
        ..before_head(Outcome::Failed, Class::ServerError, TO_HEAD)
    }
}

fn timed_out(message: &str) -> Ended {
    Ended {
        error: Some(message.to_owned()),
        ..before_head(Outcome::TimedOut, Class::Timeout, TO_HEAD)
    }
}

/// An error that shows another one only as its source.
#[derive(Debug)]
struct Outer(BoxError);

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

#[tokio::test(start_paused = true)]
async fn an_error_of_the_service_is_a_failure() {
    assert_eq!(
        end_by_error(io::Error::other("broken")).await,
        failed("broken")
    );
    assert_eq!(end_by_error(BoxError::from("boxed")).await, failed("boxed"));
    let opaque = Ended {
        error: None,
        ..failed("")
    };
    assert_eq!(end_by_error("no error at all").await, opaque);
}

#[tokio::test(start_paused = true)]
async fn the_timeout_layer_of_tower_is_told_apart() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(ObserveLayer::new(recorder.clone()))
        .layer(TimeoutLayer::new(TO_HEAD))
        .service(Readied::from_fn(|_: Request<()>| {
            pending::<Result<Response<ScriptedBody>, Infallible>>()
        }));
    let mut future = Box::pin(service.oneshot(Request::new(())));
    assert!(poll(&mut future).is_pending());
    advance(TO_HEAD).await;
    assert!(matches!(poll(&mut future), Poll::Ready(Err(_))));
    assert_eq!(recorder.only(), timed_out("request timed out"));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_tokio_is_told_apart() {
    let elapsed = tokio::time::timeout(Duration::ZERO, pending::<()>())
        .await
        .unwrap_err();
    let expected = Ended {
        duration: TO_HEAD,
        ..timed_out("deadline has elapsed")
    };
    assert_eq!(end_by_error(elapsed).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_io_is_told_apart() {
    let error = io::Error::new(io::ErrorKind::TimedOut, "slow disk");
    assert_eq!(end_by_error(error).await, timed_out("slow disk"));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_behind_sources_is_told_apart() {
    let error = io::Error::from(io::ErrorKind::TimedOut);
    let error: BoxError = Box::new(Outer(Box::new(Outer(error.into()))));
    assert_eq!(end_by_error(error).await, timed_out("outer"));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_within_an_io_error_is_told_apart() {
    // An `io::Error` names as its source that of the error in it, and so skips the error itself.
    let inner = io::Error::new(io::ErrorKind::TimedOut, "slow disk");
    assert_eq!(
        end_by_error(io::Error::other(inner)).await,
        timed_out("slow disk")
    );
    let inner = tower::timeout::error::Elapsed::new();
    assert_eq!(
        end_by_error(BoxError::from(io::Error::other(inner))).await,
        timed_out("request timed out")
    );
}
