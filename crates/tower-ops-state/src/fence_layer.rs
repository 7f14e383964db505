use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_ops_core::http::{Answer, AnswerBody};
use tower_ops_observe::{GrpcCode, GrpcProtocol};
use tower_service::Service;

use crate::fence::{Fence, WriteGuard};

/// Lets requests write as long as the fence is open. Made by [`Fence::layer`].
///
/// Behind a closed fence the answer is `503 Service Unavailable`, and `UNAVAILABLE` for
/// a gRPC or gRPC-Web call.
#[derive(Clone, Debug)]
pub struct FenceLayer {
    fence: Fence,
}

impl FenceLayer {
    pub(crate) const fn new(fence: Fence) -> Self {
        Self { fence }
    }
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
/// A request writes from its call until its response's head is there, or until it is
/// dropped. What a handler spawns, or does while its response's body is sent, needs a
/// [guard](Fence::enter) of its own.
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
        let guard = if reads {
            None
        } else {
            match self.fence.enter() {
                Ok(guard) => Some(guard),
                Err(_) => {
                    return ResponseFuture {
                        state: State::Fenced {
                            grpc: GrpcProtocol::of(&request),
                        },
                    };
                }
            }
        };
        ResponseFuture {
            state: State::Passed {
                response: self.inner.call(request),
                guard,
            },
        }
    }
}

pin_project! {
    /// The response of a [`FenceService`].
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Fenced { grpc: Option<GrpcProtocol> },
        Passed { #[pin] response: F, guard: Option<WriteGuard> },
    }
}

impl<F, E, R> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Fenced { grpc } => {
                Poll::Ready(Ok(fenced(*grpc).map(ResponseBody::answer)))
            }
            StateProjection::Passed { response, guard } => {
                let response = ready!(response.poll(cx));
                *guard = None;
                Poll::Ready(response.map(|response| response.map(ResponseBody::inner)))
            }
        }
    }
}

fn fenced(grpc: Option<GrpcProtocol>) -> Response<AnswerBody> {
    const WHY: &str = "the state is being handed over to another instance, or was: ask that one";
    if let Some(protocol) = grpc {
        return protocol.trailers_only(GrpcCode::Unavailable, WHY);
    }
    let answer = Answer::problem(StatusCode::SERVICE_UNAVAILABLE, WHY);
    // Requests that read pass, so the method is none that has no body.
    let mut response = answer.into_response(&Method::POST);
    let soon = HeaderValue::from_static("1");
    response.headers_mut().insert(RETRY_AFTER, soon);
    response
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
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind<B> {
        Answer { #[pin] body: AnswerBody },
        Inner { #[pin] body: B },
    }
}

impl<B> ResponseBody<B> {
    const fn answer(body: AnswerBody) -> Self {
        Self {
            kind: Kind::Answer { body },
        }
    }

    const fn inner(body: B) -> Self {
        Self {
            kind: Kind::Inner { body },
        }
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
        match self.project().kind.project() {
            KindProjection::Answer { body } => body
                .poll_frame(cx)
                .map_err(|never: Infallible| match never {}),
            KindProjection::Inner { body } => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Answer { body } => body.is_end_stream(),
            Kind::Inner { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Answer { body } => body.size_hint(),
            Kind::Inner { body } => body.size_hint(),
        }
    }
}
