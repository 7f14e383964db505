use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tower_service::Service as _;

use crate::admin::Admin;
use crate::deadline::Deadline;
use crate::ports;
use crate::remote::RemoteAddr;

/// Probes and scrapers are few; whoever opens more has to wait.
const MAX_CONNECTIONS: usize = 256;

/// A prober has its request ready when it connects, and one request is all that a connection is
/// for: an idle one would keep others out.
const HEAD: Duration = Duration::from_secs(10);

/// How long a client may take to read its answer, once the service's own time is over.
const SENDING: Duration = Duration::from_secs(30);

/// How long an answer that is being made may take once the endpoint ends.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long what is blocked then may take beyond that.
const BLOCKED: Duration = Duration::from_millis(500);

/// How long to wait after a failed accept: file descriptors come back when others close theirs.
const BACK_OFF: Duration = Duration::from_millis(50);

impl Admin {
    /// Starts the endpoint on `addr`, on a thread and a runtime of its own, so that a stuck
    /// application cannot keep it from answering, until the returned handle is dropped.
    ///
    /// Port 0 takes the first free one from 8080 to 9000.
    ///
    /// HTTP/1.1; one request for each connection, and 256 connections at once. A client has 10 s
    /// for the head of its request, and 30 s, beyond the mounted service's own, for reading the
    /// answer.
    ///
    /// # Errors
    ///
    /// If the address is taken, or the thread cannot be started.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(admin: tower_ops_admin::Admin) -> std::io::Result<()> {
    /// let endpoint = admin.start(([0, 0, 0, 0], 8080))?;
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
        let listener = ports::listen(addr.into())?;
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
        let admin = self.clone();
        let thread = thread::Builder::new()
            .name("operations".into())
            .spawn(move || {
                let _end: mpsc::Sender<()> = end;
                runtime.spawn(beside);
                runtime.block_on(async {
                    let answering = Answering::default();
                    tokio::select! {
                        () = accept_all(listener, &admin, &answering) => {}
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
/// [`close`](Self::close) does so without blocking. A service that blocks the endpoint's own
/// thread is left behind after two seconds, and with it the port.
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
        // A thread that may block, for as long as `end` takes; dropped, it goes on.
        let _ = spawn_blocking(move || running.end()).await;
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }
}

/// How many answers are being made.
#[derive(Clone, Debug, Default)]
struct Answering(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    answers: AtomicUsize,
    less: Notify,
}

impl Answering {
    fn begin(&self) -> One {
        self.0.answers.fetch_add(1, Ordering::AcqRel);
        One(self.clone())
    }

    /// One thread: nothing happens between the look and the wait.
    async fn done(&self) {
        while self.0.answers.load(Ordering::Acquire) > 0 {
            self.0.less.notified().await;
        }
    }
}

/// One answer, until its connection ends.
struct One(Answering);

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.answers.fetch_sub(1, Ordering::AcqRel);
        self.0.0.less.notify_one();
    }
}

async fn accept_all(listener: TcpListener, admin: &Admin, answering: &Answering) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let Ok((stream, peer)) = listener.accept().await else {
            sleep(BACK_OFF).await;
            continue;
        };
        let connection = serve_one(stream, peer, admin.clone(), answering.clone());
        tokio::spawn(async move {
            connection.await;
            drop(slot);
        });
    }
}

async fn serve_one(stream: TcpStream, peer: SocketAddr, admin: Admin, answering: Answering) {
    // An answer goes out when it is written.
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false);
    let deadline = Deadline::within(HEAD + SENDING);
    let moved = deadline.clone();
    // Here, so that it lives until the answer is sent.
    let one = std::sync::OnceLock::new();
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(RemoteAddr::new(peer));
        let _ = one.set(answering.begin());
        let time = admin.time_for(request.uri().path());
        moved.move_to(time.map(|time| time.saturating_add(SENDING)));
        admin.clone().call(request)
    });
    let connection = http.serve_connection(TokioIo::new(stream), service);
    // A prober that goes away is no event.
    tokio::select! {
        _ = connection => {}
        () = deadline.over() => {}
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}
