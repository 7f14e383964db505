use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::connection::Scope;
use crate::{Connection, Protocol};

/// The service of one connection. Made by [`Connection::service`].
///
/// An exchange counts as in flight from the call until the response's body is
/// dropped. While it is, [`Connection::current`] finds the connection. A response
/// on HTTP/1 gets `Connection: close` if the connection is to be closed.
///
/// Costs no allocation: three changes of an atomic and a reference count.
#[derive(Clone, Debug)]
pub struct ConnectionService<S> {
    connection: Connection,
    inner: S,
}

impl<S> ConnectionService<S> {
    pub(crate) fn new(connection: Connection, inner: S) -> Self {
        connection.record.set_served();
        Self { connection, inner }
    }
}

/// An exchange in flight, until it is dropped.
struct Exchange(Option<Connection>);

impl Exchange {
    #[inline]
    fn begin(connection: Option<Connection>) -> Self {
        if let Some(connection) = &connection {
            connection.begin();
        }
        Self(connection)
    }
}

impl Drop for Exchange {
    #[inline]
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.end();
        }
    }
}

impl<S, B, R> Service<Request<B>> for ConnectionService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture::call(Some(self.connection.clone()), &mut self.inner, request)
    }
}

pin_project! {
    /// The future of a [`ConnectionService`].
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        exchange: Exchange,
        http1: bool,
        connects: bool,
    }
}

impl<F> ResponseFuture<F> {
    /// Calls `service` as an exchange of `connection`, if that is known.
    pub(crate) fn call<S, B>(
        connection: Option<Connection>,
        service: &mut S,
        request: Request<B>,
    ) -> Self
    where
        S: Service<Request<B>, Future = F>,
    {
        let version = request.version();
        if let Some(connection) = &connection {
            // Below TLS that is not ours, the bytes did not show it.
            connection.set_protocol(if version == Version::HTTP_2 {
                Protocol::Http2
            } else {
                Protocol::Http1
            });
        }
        let connects = request.method() == Method::CONNECT;
        let mut exchange = Exchange::begin(connection);
        let scope = Scope::enter(&mut exchange.0);
        let inner = service.call(request);
        drop(scope);
        Self {
            inner,
            exchange,
            http1: version < Version::HTTP_2,
            connects,
        }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = {
            let _scope = Scope::enter(&mut this.exchange.0);
            this.inner.poll(cx)
        };
        let mut response = ready!(polled)?;
        let exchange = Exchange(this.exchange.0.take());
        if *this.connects
            && !*this.http1
            && let Some(connection) = &exchange.0
        {
            connection.record.http2.set_tunnels();
        }
        if let Some(connection) = exchange.0.as_ref().filter(|_| *this.http1) {
            let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS
                || (*this.connects && response.status().is_success());
            if switches {
                connection.set_protocol(Protocol::Upgraded);
            } else if !connection.record.state.seen().is_open() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
        }
        Poll::Ready(Ok(response.map(|inner| ResponseBody {
            inner,
            exchange: Some(exchange),
        })))
    }
}

pin_project! {
    /// The body of a response of a [`ConnectionService`]: the inner one, and the
    /// exchange is in flight as long as it lives.
    pub struct ResponseBody<B> {
        #[pin]
        inner: B,
        exchange: Option<Exchange>,
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self {
            inner: B::default(),
            exchange: None,
        }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        match this.exchange {
            Some(exchange) => {
                let _scope = Scope::enter(&mut exchange.0);
                this.inner.poll_frame(cx)
            }
            None => this.inner.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<B: fmt::Debug> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
