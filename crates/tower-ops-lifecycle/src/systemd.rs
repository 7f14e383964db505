//! systemd: what it is told, and the sockets that it hands over.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::phase::Phase;

/// Does nothing where systemd did not ask, by `NOTIFY_SOCKET`.
pub(crate) fn notify(phase: Phase) {
    let state = if phase == Phase::Ready {
        NotifyState::Ready
    } else {
        NotifyState::Stopping
    };
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("systemd could not be told that the process is {phase}: {error}");
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
    /// Takes them out of the environment, for the process's whole life: a second call
    /// finds none.
    ///
    /// Call it early in `main`, before there are other threads: it removes variables
    /// from the environment, which no other thread may read meanwhile. `LISTEN_PID` has
    /// to be this process, if it is set.
    #[must_use]
    pub fn take() -> Self {
        Self {
            sockets: ListenFd::from_env(),
        }
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sockets.len()
    }

    /// The TCP listener at that place in the unit's sockets, from 0, set not to block.
    /// `None` if there is none at that place, or it was taken.
    ///
    /// # Errors
    ///
    /// If what is there is no TCP socket.
    pub fn tcp_listener(&mut self, place: usize) -> io::Result<Option<TcpListener>> {
        let listener = self.sockets.take_tcp_listener(place)?;
        if let Some(listener) = &listener {
            listener.set_nonblocking(true)?;
        }
        Ok(listener)
    }

    /// As [`tcp_listener`](Self::tcp_listener), for a Unix stream socket.
    ///
    /// # Errors
    ///
    /// If what is there is no such socket.
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
