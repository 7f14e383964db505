//! Listeners, and an accept loop that survives errors.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};
use tower_ops_core::accept::is_of_connection;

use crate::Peer;

/// A source of connections.
pub trait Listener: Send + 'static {
    /// The stream of a connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Accepts the next connection.
    ///
    /// # Errors
    ///
    /// The error of the system. [`Acceptor::accept`] continues after any.
    ///
    /// # Cancel safety
    ///
    /// Implementations must be cancel safe: no connection may be lost.
    fn next(&mut self) -> impl Future<Output = io::Result<(Self::Io, Peer)>> + Send;

    /// Returns the address that it listens on, for logs.
    fn address(&self) -> String;
}

impl Listener for TcpListener {
    type Io = TcpStream;

    async fn next(&mut self) -> io::Result<(TcpStream, Peer)> {
        let (stream, peer) = self.accept().await?;
        // Responses are sent when they are written, not when the peer has acknowledged the last
        // ones. Fails only on a dead connection.
        let _ = stream.set_nodelay(true);
        bound_unsent(&stream);
        Ok((stream, Peer::from(&peer)))
    }

    fn address(&self) -> String {
        self.local_addr()
            .map_or_else(|error| error.to_string(), |addr| addr.to_string())
    }
}

/// Bounds how much the kernel buffers for a client that does not read. Without it that is up to 4
/// MiB for each connection, at the price of a request. The bytes in the network do not count, so that
/// no throughput is lost.
#[cfg(any(target_os = "android", target_os = "linux"))]
pub(crate) fn bound_unsent(stream: &TcpStream) {
    const UNSENT: u32 = 64 * 1024;
    // Only saves memory: an error does not matter.
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT);
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
pub(crate) fn bound_unsent(_: &TcpStream) {}

#[cfg(unix)]
impl Listener for tokio::net::UnixListener {
    type Io = tokio::net::UnixStream;

    async fn next(&mut self) -> io::Result<(Self::Io, Peer)> {
        let (stream, peer) = self.accept().await?;
        Ok((stream, Peer::from(&peer)))
    }

    fn address(&self) -> String {
        match self.local_addr() {
            Ok(addr) => format!("unix:{addr:?}"),
            Err(error) => error.to_string(),
        }
    }
}

/// The first and the longest wait after an accept failed for want of something that connections
/// hold, such as file descriptors.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// How often such errors are logged.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Accepts connections from one listener, and survives errors in between.
#[derive(Debug)]
pub struct Acceptor<L> {
    listener: L,
    wait: Option<Duration>,
    /// When to try again. A time, not a duration: a new call must not restart the wait.
    again: Option<Instant>,
    logged: Option<Instant>,
}

impl<L: Listener> Acceptor<L> {
    /// Creates an acceptor for `listener`.
    #[must_use]
    pub const fn new(listener: L) -> Self {
        Self {
            listener,
            wait: None,
            again: None,
            logged: None,
        }
    }

    /// Returns the listener.
    #[must_use]
    pub const fn listener(&self) -> &L {
        &self.listener
    }

    /// Accepts the next connection.
    ///
    /// Skips an error of one connection, which was closed while it waited. After any other error,
    /// such as a lack of file descriptors, it waits and tries again. The wait grows from 5 ms up to
    /// 500 ms, and the error is logged once in 10 seconds.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no connection is lost, and a new call continues the wait.
    pub async fn accept(&mut self) -> (L::Io, Peer) {
        self.accept_or(|_| {}).await
    }

    /// As [`accept`](Self::accept); calls `failed` with each error after which it waits.
    pub(crate) async fn accept_or(&mut self, failed: impl Fn(&io::Error) + Send) -> (L::Io, Peer) {
        loop {
            if let Some(again) = self.again {
                sleep_until(again).await;
            }
            match self.listener.next().await {
                Ok(accepted) => {
                    self.wait = None;
                    self.again = None;
                    return accepted;
                }
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    failed(&error);
                    self.back_off(&error);
                }
            }
        }
    }

    fn back_off(&mut self, error: &io::Error) {
        let wait = self.wait.map_or(BACK_OFF.0, |wait| wait * 2);
        let wait = wait.min(BACK_OFF.1);
        self.wait = Some(wait);
        self.again = Some(Instant::now() + wait);
        if self
            .logged
            .is_none_or(|logged| logged.elapsed() >= LOG_EVERY)
        {
            self.logged = Some(Instant::now());
            tracing::error!(
                %error,
                listener = self.listener.address(),
                "cannot accept connections, trying again; if there are too many open files, raise \
                 the limit or set max_connections"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::io::DuplexStream;

    use super::*;

    struct Scripted(VecDeque<io::ErrorKind>);

    impl Listener for Scripted {
        type Io = DuplexStream;

        async fn next(&mut self) -> io::Result<(DuplexStream, Peer)> {
            match self.0.pop_front() {
                Some(kind) => Err(kind.into()),
                None => Ok((tokio::io::duplex(1).0, Peer::Unknown)),
            }
        }

        fn address(&self) -> String {
            "scripted".into()
        }
    }

    async fn takes(errors: impl IntoIterator<Item = io::ErrorKind>) -> Duration {
        let mut acceptor = Acceptor::new(Scripted(errors.into_iter().collect()));
        let begun = Instant::now();
        acceptor.accept().await;
        let took = begun.elapsed();
        acceptor.accept().await;
        assert_eq!(begun.elapsed(), took, "the error is over");
        took
    }

    #[tokio::test(start_paused = true)]
    async fn goes_on_after_errors_and_waits_longer_each_time() {
        use io::ErrorKind::{ConnectionAborted, Other};

        let millis = Duration::from_millis;
        assert_eq!(takes([]).await, millis(0));
        assert_eq!(takes([ConnectionAborted; 100]).await, millis(0));
        assert_eq!(takes([Other]).await, millis(5));
        assert_eq!(takes([Other; 4]).await, millis(5 + 10 + 20 + 40));
        // 5, 10, … 320 and then half a second each time.
        assert_eq!(takes([Other; 12]).await, millis(635 + 5 * 500));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_survives_being_dropped() {
        let mut acceptor = Acceptor::new(Scripted([io::ErrorKind::Other; 2].into()));
        let begun = Instant::now();
        let short = tokio::time::timeout(Duration::from_millis(1), acceptor.accept());
        short.await.unwrap_err();
        acceptor.accept().await;
        assert_eq!(begun.elapsed(), Duration::from_millis(5 + 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_goes_on_for_whoever_asks_again_and_again() {
        let mut acceptor = Acceptor::new(Scripted([io::ErrorKind::Other; 12].into()));
        let begun = Instant::now();
        // As an accept loop does that has other things to do as well.
        let often = Duration::from_millis(3);
        while tokio::time::timeout(often, acceptor.accept())
            .await
            .is_err()
        {
            assert!(begun.elapsed() < Duration::from_secs(10), "never");
        }
        assert_eq!(begun.elapsed(), Duration::from_millis(635 + 5 * 500));
    }
}
