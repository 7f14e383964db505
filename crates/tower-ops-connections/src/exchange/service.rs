use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::connection::Scope;
use crate::exchange::Exchange;
use crate::exchange::metered::MeteredData;
use crate::exchange::request_body::TrackedBody;
use crate::io::meter::{Outflow, SMALL};
use crate::serve::connect_info;
use crate::{Connection, Protocol};

/// The service of one connection. Made by [`Connection::service`].
///
/// An exchange is in flight from the call until
///
/// - the response body is dropped,
/// - the request body has ended or is dropped: a handler may respond at once and go on reading in
///   a task,
/// - and, on HTTP/2, the transport has written the data that it took.
///
/// While the service and the bodies are polled, [`Connection::current`] returns the connection. On
/// HTTP/1, a response gets `Connection: close` if the connection is being closed.
///
/// # What a client that does not read can make the server hold
///
/// On HTTP/1, the transport's buffer. On HTTP/2 the client sets the windows, so frames that are not
/// written yet count against two bounds, each with its data and 512 bytes more:
///
/// - A stream is paused when it would hold more than 128 KiB, until half of that is left.
/// - All streams of a connection wait when they hold 384 KiB together. They resume in the order in
///   which they began to wait. From half of that bound on, only streams that hold nothing resume.
///
/// A chunk is passed on as a whole, so up to one chunk more is held. If the socket accepts
/// everything and only the windows of streams are closed, a stream that holds nothing resumes up to
/// 1 MiB in all: unread streams do not block one that is read, unless its chunks are larger.
///
/// A body with a known length of at most 16 KiB does not wait. A body in one chunk counts as at
/// most 128 KiB. In both cases the bytes are in memory already.
///
/// # Cost
///
/// Three atomic operations and a reference count; no allocation. One allocation for a request with
/// a body, and on HTTP/2 one for a response with a body.
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

    #[cfg(feature = "axum")]
    pub(crate) const fn parts(&mut self) -> (&Connection, &mut S) {
        (&self.connection, &mut self.inner)
    }
}

impl<S, B, R> Service<Request<B>> for ConnectionService<S>
where
    S: Service<Request<TrackedBody<B>>, Response = Response<R>>,
    B: Body,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let connection = Some(self.connection.clone());
        let peer = self.connection.peer();
        let wrap = |mut request: Request<B>, exchange: &mut Exchange| {
            connect_info::insert(&mut request, peer);
            TrackedBody::wrap(request, exchange)
        };
        ResponseFuture::call(connection, &mut self.inner, request, wrap)
    }
}

pin_project! {
    /// The future of a [`ConnectionService`].
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        exchange: Exchange,
        version: Version,
        connects: bool,
    }
}

impl<F> ResponseFuture<F> {
    /// Calls `service` with the request that `wrap` returns, as an exchange of `connection` if that
    /// is known.
    pub(crate) fn call<S, B, C>(
        connection: Option<Connection>,
        service: &mut S,
        request: Request<B>,
        wrap: impl FnOnce(Request<B>, &mut Exchange) -> Request<C>,
    ) -> Self
    where
        S: Service<Request<C>, Future = F>,
    {
        let version = request.version();
        if let Some(connection) = &connection {
            // The bytes do not show it if TLS was terminated above the tracked stream.
            connection.set_protocol(if version == Version::HTTP_2 {
                Protocol::Http2
            } else {
                Protocol::Http1
            });
        }
        let connects = request.method() == Method::CONNECT;
        let mut exchange = Exchange::begin(connection);
        let request = wrap(request, &mut exchange);
        let scope = Scope::enter(&mut exchange.connection);
        let inner = service.call(request);
        drop(scope);
        Self {
            inner,
            exchange,
            version,
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
            let _scope = Scope::enter(&mut this.exchange.connection);
            this.inner.poll(cx)
        };
        let mut response = ready!(polled)?;
        let exchange = this.exchange.take();
        let http1 = *this.version < Version::HTTP_2;
        if let Some(connection) = &exchange.connection {
            connection.record.watched.note_answer();
        }
        if *this.connects
            && !http1
            && let Some(connection) = &exchange.connection
        {
            connection.record.http2.set_tunnels();
        }
        if let Some(connection) = exchange.connection.as_ref().filter(|_| http1) {
            let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS
                || (*this.connects && response.status().is_success());
            if switches {
                connection.set_protocol(Protocol::Upgraded);
            } else if !connection.record.state.load().is_open() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
        }
        let metered = *this.version == Version::HTTP_2;
        Poll::Ready(Ok(response.map(|inner| ResponseBody {
            inner,
            exchange: Some(exchange),
            metered,
            outflow: None,
        })))
    }
}

pin_project! {
    /// The response body of a [`ConnectionService`]: the inner body, which keeps the exchange in
    /// flight until it is dropped.
    ///
    /// On HTTP/2 it waits while its stream or its connection holds too much that is not written:
    /// see [`ConnectionService`].
    pub struct ResponseBody<B> {
        #[pin]
        inner: B,
        exchange: Option<Exchange>,
        metered: bool,
        outflow: Option<Outflow>,
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self {
            inner: B::default(),
            exchange: None,
            metered: false,
            outflow: None,
        }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = MeteredData<B::Data>;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, B::Error>>> {
        let this = self.project();
        if *this.metered
            && this.outflow.is_none()
            && let Some(exchange) = this.exchange
        {
            *this.outflow = exchange.share().map(Outflow::new);
        }
        let Some(outflow) = this.outflow else {
            let polled = match this.exchange {
                Some(exchange) => {
                    let _scope = Scope::enter(&mut exchange.connection);
                    this.inner.poll_frame(cx)
                }
                None => this.inner.poll_frame(cx),
            };
            return polled.map(|frame| {
                frame.map(|frame| Ok(frame?.map_data(|data| MeteredData::new(data, None))))
            });
        };
        let rest = this.inner.size_hint().exact();
        if rest.is_none_or(|rest| rest > SMALL) {
            ready!(outflow.poll_room(cx));
        }
        let polled = match this.exchange {
            Some(exchange) => {
                let _scope = Scope::enter(&mut exchange.connection);
                this.inner.poll_frame(cx)
            }
            None => this.inner.poll_frame(cx),
        };
        let polled = polled.map_ok(|frame| {
            frame.map_data(|data| {
                let payload = data.remaining();
                let whole = rest.is_some_and(|rest| rest == payload as u64);
                MeteredData::new(data, Some(outflow.charge(payload, whole)))
            })
        });
        outflow.give_back();
        polled
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
