use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Response;
use http_body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower_service::Service;

use crate::accept::{Acceptor, Listener};
use crate::listed::Listed;
use crate::request_body::RequestBody;
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::tracked::Tracked;
use crate::{CloseReason, Connection, Connections, DrainReport};

/// How much hyper reads ahead and buffers for writing, for each HTTP/1 connection, and
/// takes from what writes into a stream of HTTP/2 after an extended CONNECT.
/// It bounds a request's head, and what a client that does not read can hold.
const BUFFER: usize = 64 * 1024;

/// An accept loop on hyper: HTTP/1.1 and HTTP/2, with upgrades, over TCP, Unix
/// sockets and TLS. Made by [`Connections::server`].
///
/// Compared to `axum::serve` and tonic's server with the same [`Connections`], this
/// loop owns each connection's future, and so it
///
/// - closes as the protocols want it: `Connection: close` on HTTP/1, and on HTTP/2
///   GOAWAY twice with a round trip in between, so that no request is lost (RFC
///   9113, section 6.8);
/// - ends a connection for good at the deadline, and drops its handlers with it;
/// - knows when a handler waits for a request's body, for the
///   [stall timeout](crate::ConnectionsBuilder::stall_timeout).
///
/// hyper's own limit for a request's head is off: it also counts the time between
/// two requests. [`Connections`] keeps the two apart. On TCP, what the kernel
/// buffers for a client that does not read is bounded to 64 KiB (on Linux).
#[derive(Clone)]
pub struct Server {
    connections: Connections,
    http: auto::Builder<TokioExecutor>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    #[cfg(feature = "tls")]
    handshake: Duration,
    drain: Duration,
}

impl Connections {
    /// An accept loop on hyper, for these connections.
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
        http.http2()
            .timer(TokioTimer::new())
            .max_send_buf_size(BUFFER);
        Server {
            connections: self.clone(),
            http,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "tls")]
            handshake: Duration::from_secs(10),
            drain: Duration::from_secs(15),
        }
    }
}

impl Server {
    /// How long connections get to finish once the server stops. 15 seconds by
    /// default.
    #[must_use]
    pub const fn drain_timeout(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Changes hyper's settings. Leave `header_read_timeout` off.
    #[must_use]
    pub fn http(mut self, change: impl FnOnce(&mut auto::Builder<TokioExecutor>)) -> Self {
        change(&mut self.http);
        self
    }

    /// Serves TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// How long the TLS handshake may take. 10 seconds by default.
    #[cfg(feature = "tls")]
    #[must_use]
    pub const fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.handshake = limit;
        self
    }

    /// Serves `app` on what `listener` accepts, until `shutdown` completes. Then
    /// the listener is closed, and all [`Connections`] are
    /// [drained](Connections::drain).
    ///
    /// An `axum::Router`, tonic's `Routes`, or any other tower service. What goes
    /// wrong on a single connection does not end the server.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the listener and aborts all connections.
    pub async fn serve<L, S, B>(
        self,
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
        // Shared by the tasks of its connections: it is larger than what each needs.
        let server = Arc::new(self);
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
                let next = async {
                    let room = server.connections.room().await;
                    let (io, peer) = acceptor.accept().await;
                    (room, io, peer)
                };
                let (room, io, peer) = tokio::select! {
                    next = next => next,
                    () = &mut shutdown => break,
                    () = &mut renewal => break,
                    // Forgets what has ended, so that the set does not grow with
                    // every connection that ever was.
                    Some(_) = tasks.join_next() => continue,
                };
                if let Ok(listed) = room.admit(peer) {
                    tasks.spawn(Arc::clone(&server).serve_one(io, listed, app.clone()));
                }
            }
        }
        // What has not been accepted yet is refused from here on.
        drop(acceptor);
        let report = server.connections.drain(server.drain).await;
        tasks.shutdown().await;
        report
    }

    async fn serve_one<I, S, B>(self: Arc<Self>, io: I, listed: Listed, app: S)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<http::Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let acceptor = tokio_rustls::TlsAcceptor::from(tls.config());
            match tokio::time::timeout(self.handshake, acceptor.accept(io)).await {
                Ok(Ok(io)) => drive(&self.http, Tracked::new(io, listed), app).await,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a TLS handshake failed");
                    listed.no_handshake();
                }
                Err(_) => listed.no_handshake(),
            }
            return;
        }
        drive(&self.http, Tracked::new(io, listed), app).await;
    }
}

/// Serves one connection, and closes it when that is due.
async fn drive<I, S, B>(http: &auto::Builder<TokioExecutor>, io: Tracked<I>, app: S)
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
    let serving = http.serve_connection_with_upgrades(TokioIo::new(io.driven()), service);
    let mut serving = pin!(serving);
    let until_due = poll_fn(|cx| {
        if let Poll::Ready(end) = serving.as_mut().poll(cx) {
            return Poll::Ready(Err(end));
        }
        connection.poll_due(cx).map(Ok)
    });
    let reason = match until_due.await {
        Ok(reason) => reason,
        Err(end) => return tell(end),
    };
    if reason.is_abrupt() {
        return;
    }
    serving.as_mut().graceful_shutdown();
    // Boxed: an open connection does not have to carry what only its end needs.
    Box::pin(last_exchanges(serving, &connection, reason)).await;
}

/// Waits for what is in flight, as long as that may take.
async fn last_exchanges(
    mut serving: Pin<&mut impl Future<Output = Served>>,
    connection: &Connection,
    reason: CloseReason,
) {
    let grace = connection.record.shared.limits.grace;
    loop {
        tokio::select! {
            end = &mut serving => return tell(end),
            () = connection.forced() => return,
            () = sleep(grace) => {
                // What is in flight gets its time, unless somebody closed by hand.
                if connection.in_flight() == 0 || reason == CloseReason::Manual {
                    return;
                }
            }
        }
    }
}

type Served = Result<(), Box<dyn Error + Send + Sync>>;

fn tell(end: Served) {
    if let Err(error) = end {
        tracing::debug!(error, "a connection ended with an error");
    }
}

impl Connection {
    /// Ready when the connection is to be closed, and says that this is now carried
    /// out. Polled with each request, and so without the lock of `closing`.
    fn poll_due(&self, cx: &Context<'_>) -> Poll<CloseReason> {
        let record = &*self.record;
        // Registered first: a close that comes in between would wake nobody.
        record.driver.register(cx.waker());
        match record.state.seen().reason() {
            Some(reason) if record.state.commit() => Poll::Ready(reason),
            _ => Poll::Pending,
        }
    }

    /// Completes when the time to end in order is over.
    async fn forced(&self) {
        loop {
            let mut told = pin!(self.record.closing.notified());
            told.as_mut().enable();
            if self.record.state.seen().is_forced() {
                return;
            }
            told.await;
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}
