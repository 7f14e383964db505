use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::phase::Phase;

/// Notifies systemd. Does nothing without `NOTIFY_SOCKET` in the environment.
pub(crate) fn notify(phase: Phase) {
    let state = if phase == Phase::Ready {
        NotifyState::Ready
    } else {
        NotifyState::Stopping
    };
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("systemd could not be notified that the process is {phase}: {error}");
    }
}

/// The sockets that systemd opened for this process (`LISTEN_FDS`), so that a restart
/// refuses no connection.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use tokio::net::TcpListener;
/// use tower_ops_lifecycle::ActivatedSockets;
///
/// let mut sockets = ActivatedSockets::take();
/// let listener = match sockets.tcp_listener(0)? {
///     Some(listener) => TcpListener::from_std(listener)?,
///     None => TcpListener::bind("127.0.0.1:3000").await?,
/// };
/// # Ok(())
/// # }
/// ```
pub struct ActivatedSockets {
    sockets: ListenFd,
}

impl ActivatedSockets {
    /// Takes the sockets out of the environment. A second call in the same process finds none.
    ///
    /// Call it early in `main`, before there are other threads: it removes variables from the
    /// environment, which no other thread may read meanwhile. `LISTEN_PID` has to be this process,
    /// if it is set.
    #[must_use]
    pub fn take() -> Self {
        Self {
            sockets: ListenFd::from_env(),
        }
    }

    /// Returns how many sockets there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sockets.len()
    }

    /// Takes the TCP listener at a place in the unit's sockets, from 0, in non-blocking mode.
    /// Returns `None` if there is none at that place, or if it was taken.
    ///
    /// # Errors
    ///
    /// If the socket is not a TCP listener.
    pub fn tcp_listener(&mut self, place: usize) -> io::Result<Option<TcpListener>> {
        let listener = self.sockets.take_tcp_listener(place)?;
        if let Some(listener) = &listener {
            listener.set_nonblocking(true)?;
        }
        Ok(listener)
    }

    /// Takes a Unix stream listener, as [`tcp_listener`](Self::tcp_listener) does.
    ///
    /// # Errors
    ///
    /// If the socket is not a Unix stream listener.
    pub fn unix_listener(&mut self, place: usize) -> io::Result<Option<UnixListener>> {
        let listener = self.sockets.take_unix_listener(place)?;
        if let Some(listener) = &listener {
            listener.set_nonblocking(true)?;
        }
        Ok(listener)
    }
}

impl fmt::Debug for ActivatedSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActivatedSockets")
            .field("count", &self.count())
            .finish()
    }
}
