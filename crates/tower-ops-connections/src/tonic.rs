//! tonic's server, with its connections tracked.

use std::io;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use futures_util::stream::{self, Stream};
use http::{Request, Response};
#[cfg(unix)]
use tonic::transport::server::UdsConnectInfo;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tower_layer::Layer;
use tower_service::Service;

use crate::service::{ResponseBody, ResponseFuture};
use crate::{Acceptor, Connection, Connections, Listener, Tracked};

impl Connections {
    /// Tracks what `listener` accepts, for tonic's `serve_with_incoming`. Add
    /// [`layer`](Self::layer), so that the requests are seen as well, and
    /// `remote_addr()` works.
    ///
    /// tonic waits for every connection when it shuts down, without a deadline;
    /// call [`drain`](Self::drain) at the same signal, which has one. With tonic's
    /// own TLS these connections lie below it, and end without a GOAWAY.
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
        // From here on, a connection without requests is one that had none.
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

impl<S, B, R> Service<Request<B>> for LayeredService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let connection = take_apart::<TcpConnectInfo, B>(&mut request);
        #[cfg(unix)]
        let connection = connection.or_else(|| take_apart::<UdsConnectInfo, B>(&mut request));
        ResponseFuture::call(connection, &mut self.inner, request)
    }
}

/// Puts back what tonic looks for: `remote_addr()` knows only its own types.
fn take_apart<T, B>(request: &mut Request<B>) -> Option<Connection>
where
    T: Clone + Send + Sync + 'static,
{
    let extensions = request.extensions_mut();
    let TrackedConnectInfo { inner, connection } = extensions.remove::<TrackedConnectInfo<T>>()?;
    extensions.insert(inner);
    Some(connection)
}
