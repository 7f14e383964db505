use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::time::timeout;

use self::accept::accept_all;
use self::answering::Answering;
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

impl Admin {
    /// Starts the endpoint on `addr`, on a thread and a runtime of its own, so that a stuck
    /// application cannot keep it from answering, until the returned handle is dropped.
    ///
    /// Port 0 takes the first free one from 8080 to 9000, or any with
    /// [`ephemeral_port`](crate::AdminBuilder::ephemeral_port). `[::]` takes IPv4 as well, whose
    /// peers are shown with their IPv4 address; it is `0.0.0.0` where the system has no IPv6.
    ///
    /// HTTP/1.1; one request for each connection, and 256 connections at once: beyond that the
    /// oldest that has not sent a whole head is closed, counted in
    /// `admin_connections_evicted_total`. A client has 3 s for its first byte, 10 s for the head of
    /// its request, and 30 s, beyond the mounted service's own, for reading the answer. Some file
    /// descriptors are kept back, so that probes are answered when the process has no others left;
    /// `admin_accept_errors_total` counts what could not be accepted.
    ///
    /// [Probes](crate::Mount::probe) are answered on that thread, and everything else on two
    /// threads beside it, 32 answers at once; beyond that the answer is 503 with `Retry-After`.
    ///
    /// # Errors
    ///
    /// If the address is taken, or the thread cannot be started.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(admin: tower_ops_admin::Admin) -> std::io::Result<()> {
    /// let endpoint = admin.start((std::net::Ipv6Addr::UNSPECIFIED, 8080))?;
    /// println!("operations on http://{}", endpoint.addr());
    /// # Ok(())
    /// # }
    /// ```
    pub fn start(&self, addr: impl Into<SocketAddr>) -> io::Result<Endpoint> {
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
    ) -> io::Result<Endpoint> {
        let listener = ports::listen(addr.into(), self.takes_any_port())?;
        let addr = listener.local_addr()?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let workers = Workers::start()?;
        let admin = self.on_own_port(workers.worker());
        let thread = thread::Builder::new()
            .name("operations".into())
            .spawn(move || {
                let _end: oneshot::Sender<()> = end;
                let _workers = workers;
                runtime.spawn(beside);
                runtime.block_on(async {
                    let answering = Answering::default();
                    tokio::select! {
                        () = accept_all(&listener, &admin, &answering) => {}
                        _ = stopped => {}
                    }
                    let _ = timeout(GOODBYE, answering.done()).await;
                });
            })?;
        Ok(Endpoint {
            addr,
            running: Some(Running { stop, thread }),
            ended,
        })
    }
}

/// The running operations endpoint. Made by [`Admin::start`].
///
/// Ends when it is dropped: its port is free then. That waits for the answers that are being made
/// at that moment, for at most a second; [`close`](Self::close) does so without blocking.
#[must_use = "the endpoint ends when this is dropped"]
pub struct Endpoint {
    addr: SocketAddr,
    running: Option<Running>,
    ended: oneshot::Receiver<()>,
}

struct Running {
    /// Ends the thread when it is dropped; nothing is ever sent.
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Endpoint {
    /// Where it listens: the port that was taken, if it was given as 0.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends it. The answers that are being made get a second.
    ///
    /// # Cancel safety
    ///
    /// May be dropped; that blocks for the rest of the second, if there are such answers.
    pub async fn close(mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            drop(stop);
            // Nothing is sent, either: the thread is over.
            let _ = (&mut self.ended).await;
            let _ = thread.join();
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            drop(stop);
            // A panic in there was reported when it happened.
            let _ = thread.join();
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
