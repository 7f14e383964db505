//! Connections of `axum::serve`.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use axum::serve::{IncomingStream, Listener, ListenerExt, TapIo};
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::IntoResponse;
use http::request::Parts;
use http::{Request, StatusCode};
use http_body::Body as _;
use pin_project_lite::pin_project;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tower_ops_core::accept::is_of_connection;
use tower_service::Service;

use crate::exchange::Exchange;
use crate::serve::accept::bound_unsent;
use crate::{
    BytesBody, Connection, ConnectionService, Connections, Peer, ResponseFuture, Tracked,
    TrackedBody,
};

/// A listener that tracks its connections. Made by [`Connections::listener`].
#[derive(Debug)]
pub struct TrackedListener<L> {
    inner: L,
    connections: Connections,
}

impl Connections {
    /// Returns a listener for `axum::serve` that tracks the connections of `listener`. Serve a
    /// [`make_service`](Self::make_service) with it, which tracks their requests. `ConnectInfo` works
    /// as without. On TCP, the kernel buffers at most 64 KiB for a client that does not read (on
    /// Linux).
    ///
    /// Errors of accepting are counted if `listener` is tokio's `TcpListener`. Other listeners handle
    /// their errors themselves.
    ///
    /// With `with_graceful_shutdown`, axum stops accepting, closes connections between two requests
    /// at once, and waits for the others without a deadline. Prefer to call [`drain`](Self::drain),
    /// and give [`drained`](Self::drained) to axum as its signal.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::net::SocketAddr;
    /// use axum::{Router, extract::ConnectInfo, routing::get};
    /// use tokio::net::TcpListener;
    /// use tower_ops_connections::Connections;
    ///
    /// # async fn run() -> std::io::Result<()> {
    /// let connections = Connections::new();
    /// let app = Router::new()
    ///     .route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move {
    ///         peer.to_string()
    ///     }))
    ///     .into_make_service_with_connect_info::<SocketAddr>();
    /// let listener = TcpListener::bind("0.0.0.0:3000").await?;
    /// axum::serve(connections.listener(listener), connections.make_service(app)).await
    /// # }
    /// ```
    // A `TapIo`, since axum implements `ConnectInfo` for the addresses of that type with any
    // listener, and for no type of another crate.
    pub fn listener<L>(&self, listener: L) -> TapIo<TrackedListener<L>, fn(&mut Tracked<L::Io>)>
    where
        L: Listener,
        for<'a> Peer: From<&'a L::Addr>,
    {
        let listener = TrackedListener {
            inner: listener,
            connections: self.clone(),
        };
        listener.tap_io(|_| {})
    }

    /// Wraps a `Router`, or a make-service, so that the requests of each connection are tracked. Boxes
    /// the body of each response, and of each request that has one, as axum requires.
    #[must_use]
    pub fn make_service<M>(&self, inner: M) -> MakeAxumService<M> {
        MakeAxumService { inner }
    }
}

impl<L> Listener for TrackedListener<L>
where
    L: Listener,
    for<'a> Peer: From<&'a L::Addr>,
{
    type Io = Tracked<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let accepted = accept(&mut self.inner, &self.connections);
            let (room, (io, addr)) = self.connections.with_room(accepted).await;
            if let Some(stream) = (&io as &dyn Any).downcast_ref::<TcpStream>() {
                bound_unsent(stream);
            }
            if let Ok(io) = room.accept(io, Peer::from(&addr)) {
                return (io, addr);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

/// How long to wait after an error that is not of one connection: as long as axum's own listener.
const RETRY: Duration = Duration::from_secs(1);

/// Accepts as axum's listener does. That does not return its errors, so they are counted here where
/// the listener is tokio's for TCP, and cannot be counted elsewhere.
async fn accept<L: Listener>(listener: &mut L, connections: &Connections) -> (L::Io, L::Addr) {
    if let Some(tcp) = (listener as &mut dyn Any).downcast_mut::<TcpListener>() {
        let mut accepted = Some(loop {
            match TcpListener::accept(tcp).await {
                Ok(accepted) => break accepted,
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    connections.accept_failed(&error);
                    tracing::error!(%error, "cannot accept connections, trying again in a second");
                    sleep(RETRY).await;
                }
            }
        });
        // Its types are those of `L`, which the compiler does not know.
        let accepted = (&mut accepted as &mut dyn Any).downcast_mut::<Option<(L::Io, L::Addr)>>();
        if let Some(accepted) = accepted.and_then(Option::take) {
            return accepted;
        }
    }
    listener.accept().await
}

/// Makes the service of each connection. Made by [`Connections::make_service`].
#[derive(Clone, Debug)]
pub struct MakeAxumService<M> {
    inner: M,
}

impl<'a, L, M> Service<IncomingStream<'a, L>> for MakeAxumService<M>
where
    L: Listener,
    L::Io: AsRef<Connection>,
    M: Service<IncomingStream<'a, L>, Error = Infallible>,
{
    type Response = AxumService<M::Response>;
    type Error = Infallible;
    type Future = MakeAxumFuture<M::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, stream: IncomingStream<'a, L>) -> Self::Future {
        MakeAxumFuture {
            connection: Some(stream.io().as_ref().clone()),
            inner: self.inner.call(stream),
        }
    }
}

pin_project! {
    /// The future of a [`MakeAxumService`].
    pub struct MakeAxumFuture<F> {
        #[pin]
        inner: F,
        connection: Option<Connection>,
    }
}

impl<F, S> Future for MakeAxumFuture<F>
where
    F: Future<Output = Result<S, Infallible>>,
{
    type Output = Result<AxumService<S>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(service) = ready!(this.inner.poll(cx));
        match this.connection.take() {
            Some(connection) => Poll::Ready(Ok(AxumService {
                inner: connection.service(service),
            })),
            // Polled after completion.
            None => Poll::Pending,
        }
    }
}

/// A [`ConnectionService`] with axum's body.
#[derive(Clone, Debug)]
pub struct AxumService<S> {
    inner: ConnectionService<S>,
}

impl<S> Service<Request<Body>> for AxumService<S>
where
    S: Service<Request<Body>, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = AxumFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.parts().1.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (connection, service) = self.inner.parts();
        let connection = Some(connection.clone());
        AxumFuture {
            inner: ResponseFuture::call(connection, service, request, wrap),
        }
    }
}

/// Boxes the body as axum requires. A request without a body keeps its own.
fn wrap(request: Request<Body>, exchange: &mut Exchange) -> Request<Body> {
    if request.body().is_end_stream() {
        return request;
    }
    TrackedBody::wrap(request, exchange).map(Body::new)
}

pin_project! {
    /// The future of an [`AxumService`].
    pub struct AxumFuture<F> {
        #[pin]
        inner: ResponseFuture<F>,
    }
}

impl<F, E> Future for AxumFuture<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.project().inner.poll(cx))?;
        Poll::Ready(Ok(response.map(|body| Body::new(BytesBody::new(body)))))
    }
}

/// Rejects a request to a handler that extracts [`Connection`] on a server that does not track its
/// connections.
///
/// Answers `500` with its text. The text names what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingConnection(());

impl fmt::Display for MissingConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no connection: serve with connections.make_service() (or ops.serve()), so that this \
             server tracks its connections",
        )
    }
}

impl std::error::Error for MissingConnection {}

impl IntoResponse for MissingConnection {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for Connection {
    type Rejection = MissingConnection;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, MissingConnection> {
        Self::current().ok_or(MissingConnection(()))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Connection {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(Self::current())
    }
}

impl<F> fmt::Debug for MakeAxumFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MakeAxumFuture").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for AxumFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AxumFuture").finish_non_exhaustive()
    }
}
