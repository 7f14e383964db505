//! A listener on a Unix socket.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};
use tower_ops_core::config::StartError;

use crate::{Listener, Peer};

/// A listener on a Unix socket that owns its file.
///
/// A server that was killed leaves its file behind, and the next one could not bind to it. So
/// [`bind`](Self::bind) removes a socket on which nobody listens. Dropping the listener removes its
/// file, unless another one has replaced it. Neither removes a socket with a listener, or any other
/// file.
///
/// Two servers that bind to one path at the same moment may both find it without a listener. Let a
/// supervisor start one at a time.
///
/// # Examples
///
/// ```no_run
/// use tower_ops_connections::{Acceptor, Connections, UnixSocket};
///
/// # async fn run() -> std::io::Result<()> {
/// let listener = UnixSocket::bind("/run/app.sock")?.mode(0o660)?;
/// let mut acceptor = Acceptor::new(listener);
/// let accepted = Connections::new().accept_from(&mut acceptor).await;
/// // or, with the feature `hyper-util`: connections.server().serve(listener, app, stop)
/// # drop(accepted);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// The device and inode of the own file.
    file: (u64, u64),
}

impl UnixSocket {
    /// Listens on `path`. Blocks on the file system.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if there is a listener, `AlreadyExists` if the file is no socket, or any other error
    /// of the system. The text names the path.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, StartError> {
        let path = path.as_ref();
        Self::bind_at(path).map_err(|error| {
            let text = format!("cannot listen on {}: {error}", path.display());
            StartError::from_source(error, text)
        })
    }

    fn bind_at(path: &Path) -> io::Result<Self> {
        // A relative path must not mean another file later.
        let path = std::path::absolute(path)?;
        remove_stale(&path)?;
        let listener = UnixListener::bind(&path)?;
        let file = identity(&fs::symlink_metadata(&path)?);
        Ok(Self {
            listener,
            path,
            file,
        })
    }

    /// Sets who may connect, as `chmod` does: `0o660` for the owner and the group.
    ///
    /// Until then, the umask of the process decides. If that moment matters, bind in a directory that
    /// only they may enter.
    ///
    /// # Errors
    ///
    /// If the system refuses it.
    pub fn mode(self, mode: u32) -> io::Result<Self> {
        fs::set_permissions(&self.path, Permissions::from_mode(mode))?;
        Ok(self)
    }

    /// Returns the path that it listens on.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes the socket at `path` if nobody listens on it.
fn remove_stale(path: &Path) -> io::Result<()> {
    // Without following a link, since the link would be removed.
    let before = match fs::symlink_metadata(path) {
        Ok(before) => before,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !before.file_type().is_socket() {
        let message = "it exists and is not a socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    match is_served(path) {
        Ok(false) => {}
        Ok(true) => {
            let message = "another process listens on it";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        // Removed meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    // Nobody listened on that file. Another one that has replaced it belongs to another process.
    remove_own(path, identity(&before))
}

/// Returns whether there is a listener on the socket at `path`, of any type.
fn is_served(path: &Path) -> io::Result<bool> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    // Does not wait for a listener whose queue is full.
    socket.set_nonblocking(true)?;
    match socket.connect(&socket2::SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        // Also if it cannot be known, as for another type of socket.
        _ => Ok(true),
    }
}

/// Removes the file at `path` if it is still that one.
fn remove_own(path: &Path, file: (u64, u64)) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(now) if identity(&now) == file => fs::remove_file(path),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Listener for UnixSocket {
    type Io = UnixStream;

    async fn next(&mut self) -> io::Result<(UnixStream, Peer)> {
        self.listener.next().await
    }

    fn address(&self) -> String {
        format!("unix:{}", self.path.display())
    }
}

#[cfg(feature = "axum")]
impl axum::serve::Listener for UnixSocket {
    type Io = UnixStream;
    type Addr = tokio::net::unix::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        axum::serve::Listener::accept(&mut self.listener).await
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if let Err(error) = remove_own(&self.path, self.file) {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove the Unix socket");
        }
    }
}
