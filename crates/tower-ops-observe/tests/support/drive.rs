//! Drives one exchange on a clock that is moved by hand.

#![allow(dead_code, reason = "each file of tests uses its own part of it")]

use std::convert::Infallible;
use std::future::ready;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt};
use tower_ops_observe::{Class, KnownMethod, ObserveLayer, Outcome, Phase, ResponseBody};
use tower_ops_testing::{Readied, ScriptedBody, ScriptedError};

use super::record::{Ended, Recorder, poll_frame};

/// From the call to the response's head, in [`answer`].
pub(crate) const TO_HEAD: Duration = Duration::from_millis(30);
/// From one poll of the body to the next, in [`take`].
pub(crate) const STEP: Duration = Duration::from_millis(5);

pub(crate) type Watched = ResponseBody<ScriptedBody, Recorder>;

/// Lets a service give this answer to this request after [`TO_HEAD`].
pub(crate) async fn answer<B>(
    layer: &ObserveLayer<Recorder>,
    request: Request<B>,
    response: Response<ScriptedBody>,
) -> Response<Watched>
where
    B: 'static,
{
    let mut response = Some(response);
    let respond = move |_: Request<B>| {
        let response = response.take().expect("is called once");
        ready(Ok::<_, Infallible>(response))
    };
    let mut service = layer.layer(Readied::from_fn(respond));
    let future = match service.ready().await {
        Ok(service) => service.call(request),
        Err(never) => match never {},
    };
    advance(TO_HEAD).await;
    match future.await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Polls a body `times` times, [`STEP`] before each, and returns what the last poll said.
pub(crate) async fn take(body: &mut Watched, times: u32) -> Option<Result<(), ScriptedError>> {
    let mut last = None;
    for _ in 0..times {
        advance(STEP).await;
        last = match poll_frame(body) {
            Poll::Ready(frame) => frame.map(|frame| frame.map(drop)),
            Poll::Pending => None,
        };
    }
    last
}

/// The body of an answer to a GET, in a watched exchange.
pub(crate) async fn body_of(recorder: &Recorder, body: ScriptedBody) -> Watched {
    let layer = ObserveLayer::new(recorder.clone());
    let response = answer(&layer, Request::new(()), Response::new(body)).await;
    assert_eq!(recorder.heads(), 1);
    response.into_body()
}

/// How an exchange ended that had no response head.
pub(crate) fn before_head(outcome: Outcome, class: Class, duration: Duration) -> Ended {
    Ended {
        request: 1,
        outcome,
        class,
        phase: Phase::Head,
        status: None,
        grpc: None,
        bytes_sent: 0,
        time_to_head: None,
        duration,
        error: None,
        method: KnownMethod::Get,
        route: None,
        is_grpc: false,
        request_bytes: None,
    }
}

/// How an exchange ended that had a response head after [`TO_HEAD`], and then this many [`STEP`]s.
pub(crate) fn after_head(outcome: Outcome, class: Class, bytes_sent: u64, steps: u32) -> Ended {
    Ended {
        phase: Phase::Body,
        status: Some(StatusCode::OK),
        bytes_sent,
        time_to_head: Some(TO_HEAD),
        ..before_head(outcome, class, TO_HEAD + steps * STEP)
    }
}

/// How an exchange ended that was cut in its body.
pub(crate) fn cancelled(bytes_sent: u64, steps: u32) -> Ended {
    let outcome = Outcome::CancelledDuringBody;
    after_head(outcome, Class::Cancelled, bytes_sent, steps)
}
