use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_ops_core::http::{Answer, AnswerBody};
use tower_ops_observe::{GrpcCode, GrpcProtocol};
use tower_service::Service;

use super::{Fence, WriteGuard};

const CLOSED: &str =
    "the state is being handed over to another instance, or was: send the request to that instance";

/// Lets requests write while the fence is open. Made by [`Fence::layer`].
///
/// Behind a closed fence the answer is `503 Service Unavailable`, and `UNAVAILABLE` for a gRPC or
/// gRPC-Web call.
#[derive(Clone, Debug)]
pub struct FenceLayer {
    pub(super) fence: Fence,
}

impl<S> Layer<S> for FenceLayer {
    type Service = FenceService<S>;

    fn layer(&self, inner: S) -> FenceService<S> {
        FenceService {
            inner,
            fence: self.fence.clone(),
        }
    }
}

/// The service of a [`FenceLayer`].
///
/// A request counts as a write from its call until the head of its response is there, or until the
/// future is dropped. What a handler spawns, or does while the body of its response is sent, needs
/// a [guard](Fence::enter) of its own.
#[derive(Clone, Debug)]
pub struct FenceService<S> {
    inner: S,
    fence: Fence,
}

impl<S, B, R> Service<Request<B>> for FenceService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let reads = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
        );
        let entered = (!reads).then(|| self.fence.enter()).transpose();
        match entered {
            Ok(guard) => ResponseFuture {
                inner: Some(self.inner.call(request)),
                guard,
                grpc: None,
            },
            Err(_) => ResponseFuture {
                inner: None,
                guard: None,
                grpc: GrpcProtocol::of(&request),
            },
        }
    }
}

pin_project! {
    /// The response of a [`FenceService`].
    pub struct ResponseFuture<F> {
        // `None` behind a closed fence.
        #[pin]
        inner: Option<F>,
        guard: Option<WriteGuard>,
        grpc: Option<GrpcProtocol>,
    }
}

impl<F, E, R> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else {
            let inner = None;
            let answer = closed(*this.grpc).map(|answer| ResponseBody { inner, answer });
            return Poll::Ready(Ok(answer));
        };
        let response = ready!(inner.poll(cx));
        *this.guard = None;
        Poll::Ready(response.map(|response| response.map(ResponseBody::inner)))
    }
}

fn closed(grpc: Option<GrpcProtocol>) -> Response<AnswerBody> {
    match grpc {
        Some(protocol) => protocol.trailers_only(GrpcCode::Unavailable, CLOSED),
        // Methods that have no body in the answer always pass the fence.
        None => Answer::busy(CLOSED, 1).into_response(&Method::POST),
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

pin_project! {
    /// The body of a response: the inner service's, or that of the 503.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        // `None` for the 503.
        #[pin]
        inner: Option<B>,
        answer: AnswerBody,
    }
}

impl<B> ResponseBody<B> {
    fn inner(body: B) -> Self {
        let (inner, answer) = (Some(body), AnswerBody::default());
        Self { inner, answer }
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::inner(B::default())
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        match this.inner.as_pin_mut() {
            Some(inner) => inner.poll_frame(cx),
            None => Pin::new(this.answer)
                .poll_frame(cx)
                .map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        let answer = || self.answer.is_end_stream();
        self.inner.as_ref().map_or_else(answer, Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let answer = || self.answer.size_hint();
        self.inner.as_ref().map_or_else(answer, Body::size_hint)
    }
}
