use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::grpc::{GrpcCode, GrpcProtocol};

/// Marks a response as the answer to a panic that was caught.
///
/// An exchange whose response has the mark ends as
/// [`Panicked`](crate::Outcome::Panicked). [`CatchPanicLayer`] sets it. Any other
/// layer that catches panics must set it itself: from outside, its answer cannot be
/// distinguished from a `500` that a handler chose.
///
/// # Examples
///
/// With tower-http's layer, by a handler of your own:
///
/// ```
/// use std::any::Any;
/// use bytes::Bytes;
/// use http::Response;
/// use http_body_util::Full;
/// use tower_http::catch_panic::CatchPanicLayer;
/// use tower_ops_observe::CaughtPanic;
///
/// fn answer(_: Box<dyn Any + Send>) -> Response<Full<Bytes>> {
///     let mut response = Response::new(Full::from("something went wrong"));
///     *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
///     CaughtPanic::mark(&mut response);
///     response
/// }
///
/// let layer = CatchPanicLayer::custom(answer);
/// # let _ = layer;
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CaughtPanic;

impl CaughtPanic {
    /// Puts the mark into the response's extensions.
    pub fn mark<B>(response: &mut Response<B>) {
        response.extensions_mut().insert(Self);
    }

    /// Returns whether the response has the mark.
    #[must_use]
    pub fn is_in<B>(response: &Response<B>) -> bool {
        response.extensions().get::<Self>().is_some()
    }
}

/// Answers for a service that panics, in the caller's protocol: `500 Internal
/// Server Error` without a body, or `INTERNAL` for a gRPC call.
///
/// Catches panics of the call and of the future, and marks the answer with
/// [`CaughtPanic`], so that the exchange counts as panicked all the same. A panic in
/// the response's body is not caught: the head is out by then. Nothing is logged
/// but what the process's panic hook prints. Costs no allocation.
///
/// Put it inside of the [`ObserveLayer`](crate::ObserveLayer). Where panics abort
/// the process (`panic = "abort"`) it does nothing.
///
/// # Examples
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use tower::{ServiceBuilder, ServiceExt};
/// use tower_ops_observe::CatchPanicLayer;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let service = ServiceBuilder::new()
///     .layer(CatchPanicLayer::new())
///     .service_fn(async |_: Request<()>| -> Result<Response<String>, std::io::Error> {
///         panic!("a fault of the handler")
///     });
/// let response = service.oneshot(Request::new(())).await.unwrap();
/// assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CatchPanicLayer(());

impl CatchPanicLayer {
    /// A layer that catches panics.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> CatchPanic<S> {
        CatchPanic { inner }
    }
}

/// The service that a [`CatchPanicLayer`] makes.
///
/// The answer's body is the default of the inner service's, which must be empty.
#[derive(Clone, Debug)]
pub struct CatchPanic<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for CatchPanic<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let grpc = GrpcProtocol::of(&request);
        CatchPanicFuture {
            inner: catch_unwind(AssertUnwindSafe(|| self.inner.call(request)))
                .map_err(discard)
                .ok(),
            grpc,
        }
    }
}

pin_project! {
    /// The future of a [`CatchPanic`] service.
    #[derive(Debug)]
    pub struct CatchPanicFuture<F> {
        // `None` once it has panicked.
        #[pin]
        inner: Option<F>,
        grpc: Option<GrpcProtocol>,
    }
}

impl<F, R, E> Future for CatchPanicFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(inner) = this.inner.as_mut().as_pin_mut() {
            let polled = catch_unwind(AssertUnwindSafe(|| inner.poll(cx)));
            match polled {
                Ok(polled) => return Poll::Ready(ready!(polled)),
                Err(payload) => {
                    discard(payload);
                    // What is left of it may panic once more as it goes.
                    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| this.inner.set(None))) {
                        discard(payload);
                    }
                }
            }
        }
        Poll::Ready(Ok(answer(*this.grpc)))
    }
}

/// The payload is the user's, and so is its drop.
pub(crate) fn discard(payload: Box<dyn Any + Send>) {
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    if let Err(payload) = dropped {
        #[expect(clippy::mem_forget, reason = "what panics as it goes had better stay")]
        std::mem::forget(payload);
    }
}

fn answer<R: Default>(grpc: Option<GrpcProtocol>) -> Response<R> {
    let mut response = match grpc {
        Some(protocol) => protocol.trailers_only(GrpcCode::Internal, "the service panicked"),
        None => {
            let mut response = Response::new(R::default());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    };
    CaughtPanic::mark(&mut response);
    response
}
