//! The accept loop on hyper.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Response;
use http_body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tower_service::Service;

use crate::clock::countable;
use crate::close::closing::{CloseStep, Linger};
use crate::connections::registration::Registration;
use crate::exchange::request_body::RequestBody;
use crate::io::tracked::Tracked;
use crate::serve::accept::{Acceptor, Listener};
#[cfg(feature = "tls")]
use crate::serve::tls::Tls;
use crate::{Connection, Connections, DrainReport, Protocol};

/// How much hyper reads ahead and buffers for writing, for each HTTP/1 connection and each tunnel on
/// HTTP/2. Bounds the head of a request, and what a client that does not read makes the server hold.
const BUFFER: usize = 64 * 1024;

/// How long to wait for the next connection in the kernel's queue when the server stops, and for all
/// of them.
const LAST_ACCEPT: Duration = Duration::from_millis(5);
const LAST_ACCEPTS: Duration = Duration::from_millis(250);

/// How long aborted tasks may take to be dropped.
const ABORTED: Duration = Duration::from_millis(500);

/// An accept loop on hyper: HTTP/1.1 and HTTP/2, with upgrades, over TCP, Unix sockets and TLS. Made
/// by [`Connections::server`].
///
/// Unlike `axum::serve` and tonic's server with the same [`Connections`], this loop owns the future
/// of each connection. So it
///
/// - closes HTTP/2 connections with two GOAWAY frames and a round trip in between, so that no request
///   is lost (RFC 9113, section 6.8);
/// - ends every connection at the deadline, and drops its handlers with it;
/// - sends HTTP/2 PINGs: see [`http2_ping_interval`](crate::ConnectionsBuilder::http2_ping_interval).
///
/// hyper's timeout for the head of a request is off, since it includes the time between two
/// requests; [`Connections`] separates the two. On TCP, the kernel buffers at most 64 KiB for a
/// client that does not read (on Linux).
#[derive(Clone)]
pub struct Server {
    connections: Connections,
    http: auto::Builder<TokioExecutor>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    #[cfg(feature = "tls")]
    handshake: Duration,
    drain: Option<Duration>,
    extended_connect: bool,
}

impl Connections {
    /// Returns an accept loop on hyper for these connections.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use axum::{Router, routing::get};
    /// use tokio::net::TcpListener;
    /// use tower_ops_connections::Connections;
    ///
    /// # async fn run() -> std::io::Result<()> {
    /// let app = Router::new().route("/", get(|| async { "hello" }));
    /// let listener = TcpListener::bind("0.0.0.0:3000").await?;
    /// let stop = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    /// let report = Connections::new().server().serve(listener, app, stop).await;
    /// println!("{report}");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn server(&self) -> Server {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(BUFFER);
        let keep_alive = &self.shared.limits.keep_alive;
        http.http2()
            .timer(TokioTimer::new())
            .max_send_buf_size(BUFFER)
            .keep_alive_interval(keep_alive.ping_after.map(countable))
            .keep_alive_timeout(countable(keep_alive.ping_timeout));
        Server {
            connections: self.clone(),
            http,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "tls")]
            handshake: Duration::from_secs(10),
            drain: Some(Duration::from_secs(15)),
            extended_connect: false,
        }
    }
}

impl Server {
    /// Sets the timeout of the drain when the server stops. 15 seconds by default. With `None` the
    /// server lasts until its connections have ended, and another drain of them sets a deadline.
    #[must_use]
    pub fn drain_timeout(mut self, drain: impl Into<Option<Duration>>) -> Self {
        self.drain = drain.into();
        self
    }

    /// Changes the settings of hyper. Leave `header_read_timeout` off.
    #[must_use]
    pub fn http(mut self, change: impl FnOnce(&mut auto::Builder<TokioExecutor>)) -> Self {
        change(&mut self.http);
        self
    }

    /// Sets whether clients may open WebSockets and other protocols over HTTP/2, by extended CONNECT
    /// (RFC 8441). Off by default.
    ///
    /// Such a stream is in flight until it ends on the wire. The connection is idle when nothing else
    /// is in flight and no byte moved in either direction for the idle timeout, as after an upgrade
    /// of HTTP/1.
    #[must_use]
    pub const fn extended_connect(mut self, enabled: bool) -> Self {
        self.extended_connect = enabled;
        self
    }

    /// Serves TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets how long the TLS handshake may take. 10 seconds by default.
    #[cfg(feature = "tls")]
    #[must_use]
    pub const fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.handshake = limit;
        self
    }

    /// Serves `app` on the connections of `listener` until `shutdown` completes. Then it also accepts
    /// the connections in the kernel's queue, for at most 250 ms, closes the listener, and
    /// [drains](Connections::drain) all [`Connections`].
    ///
    /// `app` is an `axum::Router`, tonic's `Routes`, or any other tower service. An error of one
    /// connection does not end the server.
    ///
    /// Returns at most a second after the [drain's timeout](Self::drain_timeout). A handler that
    /// blocks its thread is abandoned, and counted as [left](DrainReport::left).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the listener and aborts all connections, also upgraded ones.
    pub async fn serve<L, S, B>(
        mut self,
        listener: L,
        app: S,
        shutdown: impl Future<Output = ()>,
    ) -> DrainReport
    where
        L: Listener,
        S: Service<http::Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if self.extended_connect {
            self.http.http2().enable_connect_protocol();
        }
        // Shared by the tasks of its connections, since it is large.
        let server = Arc::new(self);
        let _force = ForceUpgraded(&server.connections);
        let mut acceptor = Acceptor::new(listener);
        let mut tasks = JoinSet::new();
        {
            let mut shutdown = pin!(shutdown);
            #[cfg(feature = "tls")]
            let mut renewal = pin!(async {
                match &server.tls {
                    Some(tls) => tls.watch().await,
                    None => std::future::pending().await,
                }
            });
            #[cfg(not(feature = "tls"))]
            let mut renewal = pin!(std::future::pending::<()>());
            loop {
                // One future until it is ready: a new one would lose its place in the queue for
                // room whenever a connection ends.
                let mut next = pin!(server.connections.next_of(&mut acceptor));
                let next = poll_fn(|cx| {
                    if shutdown.as_mut().poll(cx).is_ready() || renewal.as_mut().poll(cx).is_ready()
                    {
                        return Poll::Ready(None);
                    }
                    // Removes what has ended, or the set would grow with each connection.
                    while let Poll::Ready(Some(_)) = tasks.poll_join_next(cx) {}
                    next.as_mut().poll(cx).map(Some)
                });
                let Some((room, io, peer)) = next.await else {
                    break;
                };
                if let Ok(registration) = room.admit(&io, peer) {
                    server.serve_one(&mut tasks, io, registration, app.clone());
                }
            }
        }
        // To their clients, connections in the kernel's queue are open.
        let most = Instant::now() + LAST_ACCEPTS;
        while Instant::now() < most
            && let Ok((room, io, peer)) =
                timeout(LAST_ACCEPT, server.connections.next_of(&mut acceptor)).await
        {
            if let Ok(registration) = room.admit(&io, peer) {
                server.serve_one(&mut tasks, io, registration, app.clone());
            }
        }
        // The system refuses what has not been accepted by now.
        drop(acceptor);
        let report = server.connections.drain(server.drain).await;
        // After the deadline: a handler that does not yield is abandoned.
        let _ = timeout(ABORTED, tasks.shutdown()).await;
        report
    }

    /// Serves one connection on a task of its own.
    fn serve_one<I, S, B>(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        io: I,
        registration: Registration,
        app: S,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<http::Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let server = Arc::clone(self);
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            tasks.spawn(async move {
                let Some(tls) = &server.tls else { return };
                if let Some((io, registration)) =
                    tls.accept(io, registration, server.handshake).await
                {
                    let io = Tracked::new(io, registration);
                    io.connection().record.set_tls();
                    serve_connection(Arc::clone(&server), io, app).await;
                }
            });
            return;
        }
        tasks.spawn(serve_connection(
            server,
            Tracked::new(io, registration),
            app,
        ));
    }
}

/// Forces upgraded connections when the server's future is dropped. The other tasks end with their
/// set.
struct ForceUpgraded<'a>(&'a Connections);

impl Drop for ForceUpgraded<'_> {
    fn drop(&mut self) {
        self.0.force_upgraded();
    }
}

/// Serves one connection, and closes it once that is due.
///
/// Not an `async fn`, which would keep each argument twice while the connection is open.
fn serve_connection<I, S, B>(
    server: Arc<Server>,
    io: Tracked<I>,
    app: S,
) -> impl Future<Output = ()> + Send + use<I, S, B>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<http::Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let connection = io.connection().clone();
    let service = TowerToHyperService::new(connection.service(app));
    let io = TokioIo::new(io.managed());
    async move {
        let serving = server.http.serve_connection_with_upgrades(io, service);
        let mut serving = pin!(serving);
        let mut closing = Closing::default();
        poll_fn(|cx| {
            loop {
                let at_stake = connection.record.at_stake();
                if let Poll::Ready(end) = serving.as_mut().poll(cx) {
                    if let Err(error) = end {
                        connection.record.note_broken(at_stake);
                        tracing::debug!(error, "a connection ended with an error");
                    }
                    return Poll::Ready(());
                }
                match ready!(closing.poll(&connection, cx)) {
                    Due::Goaway => serving.as_mut().graceful_shutdown(),
                    Due::End => return Poll::Ready(()),
                }
            }
        })
        .await;
    }
}

/// How far the close of a managed connection is.
#[derive(Default)]
struct Closing {
    linger: Linger,
    /// hyper is closing it in order.
    begun: bool,
}

/// What to do with the connection's future.
enum Due {
    Goaway,
    End,
}

impl Closing {
    /// Ready when there is something to do. Polled with each request, and so without the lock of
    /// `closing`.
    fn poll(&mut self, connection: &Connection, cx: &mut Context<'_>) -> Poll<Due> {
        let record = &*connection.record;
        // Before the state is read, or a close in between would wake nobody.
        record.manager.register(cx.waker());
        let state = record.state.load();
        let Some(reason) = state.reason() else {
            self.linger.stop();
            return Poll::Pending;
        };
        if state.is_forced() || reason.is_abrupt() {
            return Poll::Ready(Due::End);
        }
        if self.begun {
            return Poll::Pending;
        }
        match record.close_step(true) {
            CloseStep::Wait => {
                self.linger.stop();
                return Poll::Pending;
            }
            CloseStep::Linger(limit) => ready!(self.linger.poll(limit, cx)),
            CloseStep::Close => {}
        }
        if !record.state.commit() {
            return Poll::Pending;
        }
        self.begun = true;
        Poll::Ready(if record.protocol() == Protocol::Unknown {
            // The protocol is not known, so that GOAWAY cannot be sent.
            Due::End
        } else {
            Due::Goaway
        })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}
