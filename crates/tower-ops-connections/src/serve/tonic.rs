//! tonic's server, with its connections tracked.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use futures_util::stream::{self, Stream};
use http::{Request, Response};
use http_body::Body as _;
use pin_project_lite::pin_project;
use tonic::body::Body;
#[cfg(unix)]
use tonic::transport::server::UdsConnectInfo;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tower_layer::Layer;
use tower_service::Service;

use crate::exchange::Exchange;
use crate::exchange::service::ResponseFuture;
use crate::{Acceptor, BytesBody, Connection, Connections, Listener, Tracked, TrackedBody};

impl Connections {
    /// Tracks what `listener` accepts, for tonic's `serve_with_incoming`. Add
    /// [`layer`](Self::layer), so that the requests are seen as well, and
    /// `remote_addr()` works.
    ///
    /// tonic waits for every connection when it shuts down, without a deadline. Call
    /// [`drain`](Self::drain), which has one, and give [`drained`](Self::drained) to
    /// tonic. With tonic's own TLS these connections are below it: they end without a
    /// GOAWAY, and what frames would show is not known.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use tokio::net::TcpListener;
    /// use tonic::transport::Server;
    /// use tower_ops_connections::Connections;
    ///
    /// # async fn run(routes: tonic::service::Routes) -> Result<(), Box<dyn std::error::Error>> {
    /// let connections = Connections::new();
    /// let listener = TcpListener::bind("0.0.0.0:50051").await?;
    /// Server::builder()
    ///     .layer(connections.layer())
    ///     .add_routes(routes)
    ///     .serve_with_incoming(connections.incoming(listener))
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn incoming<L: Listener>(
        &self,
        listener: L,
    ) -> impl Stream<Item = io::Result<Tracked<L::Io>>> + Send + use<L> {
        let state = (self.clone(), Acceptor::new(listener));
        stream::unfold(state, |(connections, mut acceptor)| async move {
            loop {
                if let Ok(io) = connections.accept_from(&mut acceptor).await {
                    return Some((Ok(io), (connections, acceptor)));
                }
            }
        })
    }

    /// Has each connection know its requests, and each request its connection, in
    /// `tonic::transport::Server::layer`. Add it first, which is outermost.
    #[must_use]
    pub fn layer(&self) -> ConnectionLayer {
        // From here on, a connection of tonic's without requests is one that had none.
        self.shared.layered.store(true, Ordering::Relaxed);
        ConnectionLayer { _private: () }
    }
}

/// What tonic knows of a tracked connection; it stands in the extensions of each
/// request until [`ConnectionLayer`] takes it apart.
#[derive(Clone, Debug)]
pub struct TrackedConnectInfo<T> {
    inner: T,
    connection: Connection,
}

impl<I: Connected> Connected for Tracked<I> {
    type ConnectInfo = TrackedConnectInfo<I::ConnectInfo>;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.connection().record.set_connect_info();
        TrackedConnectInfo {
            inner: self.get_ref().connect_info(),
            connection: self.connection().clone(),
        }
    }
}

/// The layer for tonic's server. Made by [`Connections::layer`].
#[derive(Clone, Debug)]
pub struct ConnectionLayer {
    _private: (),
}

impl<S> Layer<S> for ConnectionLayer {
    type Service = LayeredService<S>;

    fn layer(&self, inner: S) -> LayeredService<S> {
        LayeredService { inner }
    }
}

/// As a [`ConnectionService`](crate::ConnectionService), for whatever connection a
/// request came on. Made by a [`ConnectionLayer`].
#[derive(Clone, Debug)]
pub struct LayeredService<S> {
    inner: S,
}

impl<S, R> Service<Request<Body>> for LayeredService<S>
where
    S: Service<Request<Body>, Response = Response<R>>,
{
    type Response = Response<BytesBody<R>>;
    type Error = S::Error;
    type Future = LayeredFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let connection = take_apart::<TcpConnectInfo>(&mut request);
        #[cfg(unix)]
        let connection = connection.or_else(|| take_apart::<UdsConnectInfo>(&mut request));
        LayeredFuture {
            inner: ResponseFuture::call(connection, &mut self.inner, request, wrap),
        }
    }
}

/// tonic wants its own body; a request without one keeps what it has.
fn wrap(request: Request<Body>, exchange: &mut Exchange) -> Request<Body> {
    if request.body().is_end_stream() {
        return request;
    }
    TrackedBody::wrap(request, exchange).map(Body::new)
}

pin_project! {
    /// The future of a [`LayeredService`].
    pub struct LayeredFuture<F> {
        #[pin]
        inner: ResponseFuture<F>,
    }
}

impl<F, R, E> Future for LayeredFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<BytesBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.project().inner.poll(cx))?;
        Poll::Ready(Ok(response.map(BytesBody::new)))
    }
}

impl<F> fmt::Debug for LayeredFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayeredFuture").finish_non_exhaustive()
    }
}

/// Puts back what tonic looks for: `remote_addr()` knows only its own types.
fn take_apart<T>(request: &mut Request<Body>) -> Option<Connection>
where
    T: Clone + Send + Sync + 'static,
{
    let extensions = request.extensions_mut();
    let TrackedConnectInfo { inner, connection } = extensions.remove::<TrackedConnectInfo<T>>()?;
    extensions.insert(inner);
    Some(connection)
}
