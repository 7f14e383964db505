//! Connections of tonic's server.

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
    /// Returns a stream for tonic's `serve_with_incoming` that tracks the connections of `listener`.
    /// Add [`layer`](Self::layer), which tracks their requests and makes `remote_addr()` work.
    ///
    /// tonic waits for every connection without a deadline when it shuts down. Prefer to call
    /// [`drain`](Self::drain), and give [`drained`](Self::drained) to tonic as its signal. With
    /// tonic's own TLS the frames cannot be followed, and connections end without GOAWAY.
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

    /// Returns a layer for `tonic::transport::Server::layer` that tracks the requests of each
    /// connection. Add it first, so that it is outermost.
    #[must_use]
    pub fn layer(&self) -> ConnectionLayer {
        // From now on, a connection of tonic's without requests has had none.
        self.shared.layered.store(true, Ordering::Relaxed);
        ConnectionLayer { _private: () }
    }
}

/// The `ConnectInfo` of a tracked connection, in the extensions of each request until
/// [`ConnectionLayer`] replaces it by tonic's own.
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

/// A [`ConnectionService`](crate::ConnectionService) for requests of any connection. Made by a
/// [`ConnectionLayer`].
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
        let connection = take_connection::<TcpConnectInfo>(&mut request);
        #[cfg(unix)]
        let connection = connection.or_else(|| take_connection::<UdsConnectInfo>(&mut request));
        LayeredFuture {
            inner: ResponseFuture::call(connection, &mut self.inner, request, wrap),
        }
    }
}

/// Boxes the body as tonic requires. A request without a body keeps its own.
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

/// Replaces the `ConnectInfo` by tonic's own, which is the one that `remote_addr()` finds.
fn take_connection<T>(request: &mut Request<Body>) -> Option<Connection>
where
    T: Clone + Send + Sync + 'static,
{
    let extensions = request.extensions_mut();
    let TrackedConnectInfo { inner, connection } = extensions.remove::<TrackedConnectInfo<T>>()?;
    extensions.insert(inner);
    Some(connection)
}
