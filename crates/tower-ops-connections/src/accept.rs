use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

use crate::Peer;

/// What connections come from.
pub trait Listener: Send + 'static {
    /// The stream of one.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection.
    ///
    /// # Errors
    ///
    /// What the system says. [`Acceptor::accept`] goes on after any.
    ///
    /// # Cancel safety
    ///
    /// Must be cancel safe: a connection must not be lost.
    fn next(&mut self) -> impl Future<Output = io::Result<(Self::Io, Peer)>> + Send;

    /// Where it listens, for a log.
    fn address(&self) -> String;
}

impl Listener for TcpListener {
    type Io = TcpStream;

    async fn next(&mut self) -> io::Result<(TcpStream, Peer)> {
        let (stream, peer) = self.accept().await?;
        // Responses go out when they are written, not when the peer has
        // acknowledged the last ones. Fails only on a dead connection.
        let _ = stream.set_nodelay(true);
        bound_unsent(&stream);
        Ok((stream, Peer::from(&peer)))
    }

    fn address(&self) -> String {
        self.local_addr()
            .map_or_else(|error| error.to_string(), |addr| addr.to_string())
    }
}

/// How much the kernel holds for a client that does not take it. Otherwise that is
/// up to 4 MiB for each connection, which a client gets for the price of a request.
/// What the network has under way comes on top, so that no throughput is lost.
#[cfg(any(target_os = "android", target_os = "linux"))]
pub(crate) fn bound_unsent(stream: &TcpStream) {
    const UNSENT: u32 = 64 * 1024;
    // For memory only; a system that refuses serves as before.
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

/// How long to wait after an accept that failed for want of something that other
/// connections hold, such as file descriptors: at first, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// How often the same trouble is told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Accepts connections, whatever has to be survived in between. One for each
/// listener; it remembers what it has been through.
#[derive(Debug)]
pub struct Acceptor<L> {
    listener: L,
    wait: Option<Duration>,
    /// When to try again. A moment, and no duration: whoever asks anew does not wait
    /// anew.
    again: Option<Instant>,
    told: Option<Instant>,
}

impl<L: Listener> Acceptor<L> {
    /// Accepts from `listener`.
    #[must_use]
    pub const fn new(listener: L) -> Self {
        Self {
            listener,
            wait: None,
            again: None,
            told: None,
        }
    }

    /// The listener.
    #[must_use]
    pub const fn listener(&self) -> &L {
        &self.listener
    }

    /// The next connection.
    ///
    /// An error about one connection, which went away while it waited, is skipped.
    /// After any other, most of all when the process is out of file descriptors, it
    /// waits, longer and longer up to half a second, says so once in ten seconds, and
    /// tries again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no connection is lost, and a wait that was begun is not
    /// forgotten.
    pub async fn accept(&mut self) -> (L::Io, Peer) {
        self.accept_or(|_| {}).await
    }

    /// As [`accept`](Self::accept), with what to do at each error that it waits after.
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
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            tracing::error!(
                %error,
                listener = self.listener.address(),
                "cannot accept connections, trying again; if there are too many open files, raise \
                 the limit or set max_connections"
            );
        }
    }
}

/// Whether the process, or the system, has no descriptors left.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    // EMFILE and ENFILE, everywhere but on Windows: WSAEMFILE.
    matches!(error.raw_os_error(), Some(23 | 24 | 10_024))
}

/// Whether the error is about the one connection that went away while it waited.
pub(crate) fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
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
        assert_eq!(begun.elapsed(), took, "the trouble is over");
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
