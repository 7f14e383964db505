//! Drives one exchange by hand.

#![allow(dead_code, reason = "each file of tests uses its own part of it")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use http_body::{Body, Frame};
use tower::{Layer, Service};
use tower_ops_observe::{ObserveService, ResponseBody};
use tower_ops_requests::RequestTracker;
use tower_ops_testing::{FromFn, Readied, ScriptedBody};

pub(crate) type Tracked = ResponseBody<ScriptedBody, RequestTracker>;
pub(crate) type Answers = Ready<Result<Response<ScriptedBody>, Infallible>>;

/// Polls a future once.
pub(crate) fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls a body once.
pub(crate) fn poll_frame<B: Body + Unpin>(
    body: &mut B,
) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// A tracked service that answers with what `respond` makes of a request.
pub(crate) fn service<F, Fut>(
    tracker: &RequestTracker,
    respond: F,
) -> ObserveService<Readied<FromFn<F>>, RequestTracker>
where
    F: FnMut(Request<()>) -> Fut,
{
    tracker.layer().layer(Readied::from_fn(respond))
}

/// Lets a tracked service answer a request at once.
#[track_caller]
pub(crate) fn answer(
    tracker: &RequestTracker,
    request: Request<()>,
    response: Response<ScriptedBody>,
) -> Response<Tracked> {
    let mut response = Some(response);
    handle(tracker, request, move || response.take().expect("one call"))
}

/// Lets a tracked handler answer a request at once.
#[track_caller]
pub(crate) fn handle(
    tracker: &RequestTracker,
    request: Request<()>,
    mut handler: impl FnMut() -> Response<ScriptedBody>,
) -> Response<Tracked> {
    let mut service = service(tracker, move |_| -> Answers { ready(Ok(handler())) });
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut cx) else {
        panic!("not ready");
    };
    match poll(&mut service.call(request)) {
        Poll::Ready(Ok(response)) => response,
        Poll::Ready(Err(never)) => match never {},
        Poll::Pending => panic!("a ready answer is there at once"),
    }
}

/// One exchange, from its request to the end of an empty answer.
pub(crate) fn exchange(tracker: &RequestTracker, path: &str) {
    let body = ScriptedBody::new().end_stream_flag(true);
    drop(answer(tracker, get(path), Response::new(body)));
}

pub(crate) fn get(path: &str) -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = path.parse().expect("a path");
    request
}

/// Runs something on another thread, on this one's clock.
pub(crate) fn elsewhere<R: Send>(act: impl FnOnce() -> R + Send) -> R {
    let runtime = tokio::runtime::Handle::current();
    let act = move || {
        let _clock = runtime.enter();
        act()
    };
    std::thread::scope(|scope| scope.spawn(act).join().expect("it does not panic"))
}
