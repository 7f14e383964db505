use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tower_ops_core::config::StartError;

use self::accept::{Reserve, accept_all};
use self::connections::Connections;
use self::incidents::Incidents;
use self::workers::Workers;
use crate::admin::Admin;

mod accept;
mod connection;
mod connections;
mod incidents;
mod listen;
pub(crate) mod workers;

/// How long the answers that are being made may take once the server ends.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a service that blocks its thread may take beyond that.
const BLOCKED_TIMEOUT: Duration = Duration::from_millis(500);

impl Admin {
    /// Starts serving on `addr`, on a thread and a runtime of its own, until the returned handle
    /// is dropped. A stuck application cannot keep it from answering.
    ///
    /// Port 0 takes the first free one from 8080 to 9000, or any with
    /// [`ephemeral_port`](crate::AdminBuilder::ephemeral_port). `[::]` accepts IPv4 as well, whose
    /// peers are shown with their IPv4 address. Where the system has no IPv6, `[::]` is `0.0.0.0`.
    ///
    /// It speaks HTTP/1.1 with one request per connection. [Probes](crate::Mount::probe) are
    /// answered on its own thread. Other mounts are answered on two more threads, at most 32
    /// requests at once; beyond that the answer is 503 with `Retry-After`.
    ///
    /// | limit | value | beyond it |
    /// |---|---|---|
    /// | connections | 256 | the oldest without a whole head is closed, else the one that has been reading its answer for longest |
    /// | connections that read their answer | 128 | the one that has been reading for longest is closed |
    /// | first byte | 3 s | closed |
    /// | head of the request | 10 s | closed |
    /// | reading the answer | 30 s, beyond the mount's own timeout | closed |
    ///
    /// `admin_connections_evicted_total` counts the connections that were closed to make room.
    /// `admin_accept_errors_total` counts those that could not be accepted. 16 file descriptors are
    /// held in reserve: probes are answered when the process has no others left.
    ///
    /// # Errors
    ///
    /// If the address is taken, or the thread cannot be started. A `main` that returns the error in
    /// a `Box<dyn Error>` prints a sentence with the address.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(admin: tower_ops_admin::Admin) -> Result<(), tower_ops_admin::StartError> {
    /// let server = admin.start((std::net::Ipv6Addr::UNSPECIFIED, 8080))?;
    /// println!("operations on http://{}", server.addr());
    /// # Ok(())
    /// # }
    /// ```
    pub fn start(&self, addr: impl Into<SocketAddr>) -> Result<AdminServer, StartError> {
        self.start_with(addr, std::future::ready(()))
    }

    /// As [`start`](Self::start), and runs `beside` on the same thread: what watches the
    /// application from outside. `beside` is dropped when the server ends.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_with(
        &self,
        addr: impl Into<SocketAddr>,
        beside: impl Future<Output = ()> + Send + 'static,
    ) -> Result<AdminServer, StartError> {
        let listener = listen::listen(addr.into(), self.takes_any_port())?;
        let started = self.start_on(listener, beside);
        started.map_err(|error| {
            let text = format!("the operations endpoint cannot be started: {error}");
            StartError::from_source(error, text)
        })
    }

    fn start_on(
        &self,
        listener: std::net::TcpListener,
        beside: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<AdminServer> {
        let addr = listener.local_addr()?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = mpsc::channel();
        let workers = Workers::start()?;
        // Here, so that it is held when this returns.
        let reserve = Reserve::new();
        let admin = self.on_own_port(workers.worker());
        let thread = thread::Builder::new().name("admin".into()).spawn(move || {
            let _end: mpsc::Sender<()> = end;
            let _workers = workers;
            runtime.spawn(beside);
            runtime.block_on(async {
                let connections = Connections::new(Incidents::new(admin.recorder()));
                tokio::select! {
                    () = accept_all(listener, reserve, &admin, &connections) => {}
                    _ = stopped => {}
                }
                let _ = timeout(ANSWER_TIMEOUT, connections.all_answered()).await;
            });
            // Dropping it would wait for a service that blocks, however long that takes.
            runtime.shutdown_timeout(BLOCKED_TIMEOUT);
        })?;
        drop(thread); // detached: what blocks it is not waited for
        Ok(AdminServer {
            addr,
            running: Some(Running { stop, ended }),
        })
    }
}

/// A running [`Admin`] on a port of its own. Made by [`Admin::start`].
///
/// Dropping it ends the server and frees the port. That blocks while answers are being made, for
/// at most 1 s, and 0.5 s more for a service that blocks its thread. [`close`](Self::close) does
/// the same without blocking. A [probe](crate::Mount::probe) that blocks the server's own thread is
/// abandoned after 2 s, and its port with it.
#[must_use = "the server ends when this is dropped"]
pub struct AdminServer {
    addr: SocketAddr,
    running: Option<Running>,
}

struct Running {
    /// Ends the thread when it is dropped; nothing is ever sent.
    stop: oneshot::Sender<()>,
    /// Nothing is sent here, either: the thread is over when the other end is gone.
    ended: mpsc::Receiver<()>,
}

impl Running {
    fn end(self) {
        drop(self.stop);
        let limit = ANSWER_TIMEOUT + 2 * BLOCKED_TIMEOUT;
        if self.ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("the operations endpoint is abandoned: a probe on it blocks its thread");
        }
    }
}

impl AdminServer {
    /// Returns the address that it listens on, with the port that was taken if it was given as 0.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends the server within 2 s. Answers that are being made get 1 s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the ending.
    pub async fn close(mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        // Not on the runtime's blocking pool, which may be what hangs; dropped, it goes on.
        let (ends, ended) = oneshot::channel::<()>();
        let waits = thread::Builder::new().name("admin-close".to_owned());
        let waits = waits.spawn(move || {
            running.end();
            drop(ends);
        });
        if waits.is_ok() {
            let _ = ended.await;
        }
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }
}

impl fmt::Debug for AdminServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminServer")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}
