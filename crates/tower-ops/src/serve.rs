use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time;
use tower_ops_observe::PeerService;
use tower_service::Service;

use crate::client_io::ClientIo;

/// How long connections get to finish once the server stops.
const DRAIN: Duration = Duration::from_secs(15);

/// How long a client may take for a request's head. hyper counts the idle time
/// of a kept-alive connection into it, so it must be longer than the pause of a
/// client that comes once a minute.
const HEAD: Duration = Duration::from_secs(75);

/// How long a client may take to show which protocol it speaks.
const FIRST_BYTES: Duration = Duration::from_secs(30);

/// How long to wait after an accept that failed for want of something that other
/// connections hold, such as file descriptors.
const BACK_OFF: Duration = Duration::from_secs(1);

/// A future that completes on SIGINT or SIGTERM (on Ctrl-C where there are no
/// signals): what [`Ops::serve`](crate::Ops::serve) stops at, for a server of
/// your own.
///
/// From the call on, the signals do not end the process any more.
///
/// # Errors
///
/// If the signals cannot be listened to.
///
/// # Panics
///
/// Outside of a tokio runtime.
///
/// # Examples
///
/// ```no_run
/// # async fn run(listener: tokio::net::TcpListener, app: axum::Router) -> std::io::Result<()> {
/// axum::serve(listener, app)
///     .with_graceful_shutdown(tower_ops::shutdown_signal()?)
///     .await
/// # }
/// ```
pub fn shutdown_signal() -> io::Result<impl Future<Output = ()> + Send + use<>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};

        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    {
        Ok(async {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

pub(crate) async fn serve<S, B>(listener: TcpListener, app: S, shutdown: impl Future<Output = ()>)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD);
    http.http2().timer(TokioTimer::new());

    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    {
        let mut shutdown = pin!(shutdown);
        // Kept over the turns of the loop: it may be waiting after an error.
        let mut next = pin!(accept(&listener));
        loop {
            let (stream, peer) = tokio::select! {
                accepted = &mut next => accepted,
                () = &mut shutdown => break,
                // Reaps what has ended, so that the set does not grow with every
                // connection that ever was.
                Some(_) = connections.join_next() => continue,
            };
            next.set(accept(&listener));
            let connection = http
                .serve_connection_with_upgrades(
                    TokioIo::new(ClientIo::new(stream, FIRST_BYTES)),
                    TowerToHyperService::new(PeerService::new(app.clone(), peer)),
                )
                .into_owned();
            let connection = graceful.watch(connection);
            connections.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(error, "a connection ended with an error");
                }
            });
        }
    }

    // What has not been accepted yet is refused from here on.
    drop(listener);
    if time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "the time to drain is over: aborting what is left"
        );
    }
}

/// The next connection, whatever has to be survived until it comes.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Responses go out when they are written, not when the peer has
                // acknowledged the last ones. Fails only on a dead connection.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept a connection, trying again in a second");
                time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Whether the error is about the one connection that went away while it waited.
fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
