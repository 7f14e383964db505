use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::{runtime, time};

use tower_ops_connections::Acceptor;

use crate::operations::Operations;

/// Probes and scrapers are few; whoever opens more has to wait.
const MAX_CONNECTIONS: usize = 256;

/// A prober has its request ready when it connects, and one request is all that a
/// connection is for: an idle one would keep others out.
const HEAD: Duration = Duration::from_secs(10);

/// How long one connection may take in all, with a client that reads slowly.
const WHOLE: Duration = Duration::from_secs(30);

/// The running operations endpoint. Made by
/// [`Ops::start_operations`](crate::Ops::start_operations).
///
/// Ends when it is dropped: its port is free then. That waits for the answer that
/// is being made at that moment, if any, which takes milliseconds.
#[must_use = "the endpoint ends when this is dropped"]
pub struct Endpoint {
    addr: SocketAddr,
    running: Option<Running>,
    /// The health checks, on the application's runtime.
    checks: JoinHandle<()>,
}

struct Running {
    /// Ends the thread when it is dropped; nothing is ever sent.
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Endpoint {
    pub(crate) fn start(
        addr: SocketAddr,
        operations: Operations,
        watch: impl Future<Output = ()> + Send + 'static,
        checks: impl FnOnce() -> JoinHandle<()>,
    ) -> io::Result<Self> {
        let listener = listen(addr).map_err(|error| {
            let text = format!(
                "the operations endpoint cannot listen on {addr}: {error}; choose another \
                 address with ops_addr"
            );
            io::Error::new(error.kind(), text)
        })?;
        let addr = listener.local_addr()?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("operations".into())
            .spawn(move || {
                // Here, so that it also reports what a stuck application hangs on.
                runtime.spawn(watch);
                runtime.block_on(async {
                    tokio::select! {
                        () = accept_all(listener, operations) => {}
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            addr,
            running: Some(Running { stop, thread }),
            checks: checks(),
        })
    }

    /// Where it listens: the port that was taken, if it was given as 0.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.checks.abort();
        if let Some(Running { stop, thread }) = self.running.take() {
            drop(stop);
            // A panic in there was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn listen(addr: SocketAddr) -> io::Result<StdListener> {
    let listener = StdListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn accept_all(listener: TcpListener, operations: Operations) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false);
    let mut acceptor = Acceptor::new(listener);
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let (stream, _) = acceptor.accept().await;
        let connection = http.serve_connection(
            TokioIo::new(stream),
            TowerToHyperService::new(operations.clone()),
        );
        tokio::spawn(async move {
            // A prober that goes away is no event.
            let _ = time::timeout(WHOLE, connection).await;
            drop(slot);
        });
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("addr", &self.addr)
            .finish()
    }
}
