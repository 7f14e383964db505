use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tower_layer::Layer;
use tower_ops_observe::{GrpcCode, GrpcProtocol};
use tower_service::Service;

/// Limits the time until a response head, and answers in the caller's protocol when it is over. Made
/// by [`OpsLayer::with_timeout`](crate::OpsLayer::with_timeout).
#[derive(Clone, Copy, Debug)]
pub struct TimeoutLayer {
    limit: Duration,
}

impl TimeoutLayer {
    pub(crate) const fn new(limit: Duration) -> Self {
        Self { limit }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout {
            inner,
            limit: self.limit,
        }
    }
}

/// The service of a [`TimeoutLayer`].
#[derive(Clone, Debug)]
pub struct Timeout<S> {
    inner: S,
    limit: Duration,
}

impl<S, B, R> Service<Request<B>> for Timeout<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = TimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let grpc = GrpcProtocol::of(&request);
        TimeoutFuture {
            inner: Some(self.inner.call(request)),
            // With a limit that no clock can hold, tokio sleeps for decades.
            sleep: sleep(self.limit),
            grpc,
        }
    }
}

pin_project! {
    /// The future of a [`Timeout`].
    #[derive(Debug)]
    pub struct TimeoutFuture<F> {
        // `None` after the limit.
        #[pin]
        inner: Option<F>,
        #[pin]
        sleep: Sleep,
        grpc: Option<GrpcProtocol>,
    }
}

impl<F, R, E> Future for TimeoutFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(inner) = this.inner.as_mut().as_pin_mut()
            && let Poll::Ready(result) = inner.poll(cx)
        {
            return Poll::Ready(result);
        }
        std::task::ready!(this.sleep.poll(cx));
        this.inner.set(None);
        Poll::Ready(Ok(late(*this.grpc)))
    }
}

/// Answers in the place of a service that took too long.
fn late<R: Default>(grpc: Option<GrpcProtocol>) -> Response<R> {
    if let Some(protocol) = grpc {
        return protocol.trailers_only(GrpcCode::DeadlineExceeded, "the service took too long");
    }
    let mut response = Response::new(R::default());
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    response
}
