use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::lifecycle::Lifecycle;
use crate::lifecycle::state::LifecycleState;

impl Lifecycle {
    /// Makes the layer that asks clients to reconnect, once the process is about to stop.
    #[must_use]
    pub fn connection_close(&self) -> ConnectionCloseLayer {
        ConnectionCloseLayer {
            state: Arc::clone(&self.state),
        }
    }
}

/// Adds `connection: close` to responses from [`Phase::PreDraining`] on. The client's next request
/// then goes to another process, and few connections are left for the drain. Made by
/// [`Lifecycle::connection_close`].
///
/// For HTTP/1 only: HTTP/2 forbids the header, and its server sends GOAWAY instead. A
/// `101 Switching Protocols` keeps the header that it needs, and a tunnel of `CONNECT` gets none.
///
/// Costs one atomic load and one reference count per response. Put it outermost.
///
/// [`Phase::PreDraining`]: crate::Phase::PreDraining
#[derive(Clone, Debug)]
pub struct ConnectionCloseLayer {
    state: Arc<LifecycleState>,
}

impl<S> Layer<S> for ConnectionCloseLayer {
    type Service = ConnectionClose<S>;

    fn layer(&self, inner: S) -> ConnectionClose<S> {
        ConnectionClose {
            inner,
            state: Arc::clone(&self.state),
        }
    }
}

/// The service of [`ConnectionCloseLayer`].
#[derive(Clone, Debug)]
pub struct ConnectionClose<S> {
    inner: S,
    state: Arc<LifecycleState>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ConnectionClose<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> ResponseFuture<S::Future> {
        // The request's version, as services seldom set that of the response.
        let is_http1 = request.version() <= Version::HTTP_11;
        let is_connect = request.method() == Method::CONNECT;
        ResponseFuture {
            is_connect,
            state: is_http1.then(|| Arc::clone(&self.state)),
            inner: self.inner.call(request),
        }
    }
}

pin_project! {
    /// The response future of [`ConnectionClose`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        state: Option<Arc<LifecycleState>>,
        is_connect: bool,
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut result = std::task::ready!(this.inner.poll(cx));
        if let (Some(state), Ok(response)) = (this.state, &mut result) {
            let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS
                || (*this.is_connect && response.status().is_success());
            if state.phase().is_stopping() && !is_upgrade {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
        }
        Poll::Ready(result)
    }
}
