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

use self::accept::accept_all;
use self::answering::Answering;
use self::reserve::Reserve;
use crate::admin::Admin;
use crate::ports;
use crate::workers::Workers;

mod accept;
mod answering;
mod connections;
mod incidents;
mod reserve;
mod serve;

/// How long an answer that is being made may take once the endpoint ends.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long what is blocked then may take beyond that.
const BLOCKED: Duration = Duration::from_millis(500);

impl Admin {
    /// Starts the endpoint on `addr`, on a thread and a runtime of its own, so that a stuck
    /// application cannot keep it from answering, until the returned handle is dropped.
    ///
    /// Port 0 takes the first free one from 8080 to 9000, or any with
    /// [`ephemeral_port`](crate::AdminBuilder::ephemeral_port). `[::]` takes IPv4 as well, whose
    /// peers are shown with their IPv4 address; it is `0.0.0.0` where the system has no IPv6.
    ///
    /// HTTP/1.1; one request for each connection, and 256 connections at once. Beyond that the oldest
    /// that has not sent a whole head is closed or, if all have or it has only just come, the one
    /// that has been reading its answer for longest; the latter also if more than 128 are reading
    /// theirs. `admin_connections_evicted_total` counts them. A client has 3 s for its first byte,
    /// 10 s for the head of its request, and 30 s, beyond the mounted service's own, for reading the
    /// answer. Some file descriptors are kept back, so that probes are answered when the process has
    /// no others left; `admin_accept_errors_total` counts what could not be accepted.
    ///
    /// [Probes](crate::Mount::probe) are answered on that thread, and everything else on two
    /// threads beside it, 32 answers at once; beyond that the answer is 503 with `Retry-After`.
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
    /// let endpoint = admin.start((std::net::Ipv6Addr::UNSPECIFIED, 8080))?;
    /// println!("operations on http://{}", endpoint.addr());
    /// # Ok(())
    /// # }
    /// ```
    pub fn start(&self, addr: impl Into<SocketAddr>) -> Result<Endpoint, StartError> {
        self.start_with(addr, std::future::ready(()))
    }

    /// As [`start`](Self::start), with something that runs beside it, on the same thread: what
    /// watches the application from outside. It is dropped with the endpoint.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_with(
        &self,
        addr: impl Into<SocketAddr>,
        beside: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Endpoint, StartError> {
        let listener = ports::listen(addr.into(), self.takes_any_port())?;
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
    ) -> io::Result<Endpoint> {
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
        // Here, so that it is there when this returns.
        let reserve = Reserve::new();
        let admin = self.on_own_port(workers.worker());
        let thread = thread::Builder::new()
            .name("operations".into())
            .spawn(move || {
                let _end: mpsc::Sender<()> = end;
                let _workers = workers;
                runtime.spawn(beside);
                runtime.block_on(async {
                    let answering = Answering::default();
                    tokio::select! {
                        () = accept_all(listener, reserve, &admin, &answering) => {}
                        _ = stopped => {}
                    }
                    let _ = timeout(GOODBYE, answering.done()).await;
                });
                // Dropping it would wait for a service that blocks, however long that takes.
                runtime.shutdown_timeout(BLOCKED);
            })?;
        drop(thread); // detached: what blocks it is not waited for
        Ok(Endpoint {
            addr,
            running: Some(Running { stop, ended }),
        })
    }
}

/// The running operations endpoint. Made by [`Admin::start`].
///
/// Ends when it is dropped: its port is free then. That waits for the answers that are being made
/// at that moment, for at most a second, and half a second more for what blocks;
/// [`close`](Self::close) does so without blocking. A [probe](crate::Mount::probe) that blocks the
/// endpoint's own thread is left behind after two seconds, and with it the port.
#[must_use = "the endpoint ends when this is dropped"]
pub struct Endpoint {
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
        let ended = self.ended.recv_timeout(GOODBYE + 2 * BLOCKED);
        if ended == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!(
                "the operations endpoint is left behind: a service on it blocks its thread"
            );
        }
    }
}

impl Endpoint {
    /// Where it listens: the port that was taken, if it was given as 0.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends it, in two seconds at most. The answers that are being made get one.
    ///
    /// # Cancel safety
    ///
    /// May be dropped: it ends all the same.
    pub async fn close(mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        // Not on the runtime's blocking pool, which may be what hangs; dropped, it goes on.
        let (ends, ended) = oneshot::channel::<()>();
        let waits = thread::Builder::new().name("operations-close".to_owned());
        let waits = waits.spawn(move || {
            running.end();
            drop(ends);
        });
        if waits.is_ok() {
            let _ = ended.await;
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}
