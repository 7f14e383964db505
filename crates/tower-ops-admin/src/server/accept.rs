use std::fs::File;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};
use tower_ops_core::accept::{is_of_connection, is_shortage};

use crate::admin::Admin;
use crate::server::connection::serve;
use crate::server::connections::Connections;

/// How long to wait after a failed accept when nothing can be done about it.
const BACK_OFF: Duration = Duration::from_millis(20);

/// How often the reserve is refilled while it is not full.
const REFILL: Duration = Duration::from_millis(100);

/// Accepts connections for ever. Never waits for a connection that sends nothing, nor for
/// descriptors that others use.
pub(super) async fn accept_all(
    listener: TcpListener,
    mut reserve: Reserve,
    admin: &Admin,
    connections: &Connections,
) {
    let mut refill_at = Instant::now();
    loop {
        // A deadline and not a pause: it passes however often somebody connects.
        if !reserve.is_full() && Instant::now() >= refill_at {
            reserve.refill();
            refill_at = Instant::now() + REFILL;
        }
        let accepted = if reserve.is_full() {
            listener.accept().await
        } else {
            let until = refill_at.saturating_duration_since(Instant::now());
            match timeout(until, listener.accept()).await {
                Ok(accepted) => accepted,
                Err(_) => continue,
            }
        };
        match accepted {
            Ok((stream, peer)) => {
                // After the accept: nothing is evicted before something needs the room, and the
                // new connection itself never is.
                while connections.is_full() {
                    if !connections.evict_oldest() {
                        // An answer is being made for each of them, which is bounded in time.
                        connections.fewer().await;
                    }
                }
                let open = connections.open();
                let id = open.id();
                let task = tokio::spawn(serve(stream, peer, admin.clone(), open));
                connections.ended_by(id, task.abort_handle());
            }
            Err(error) => {
                let is_shortage = is_shortage(&error);
                connections.accept_failed(&error, is_shortage);
                if is_shortage && reserve.release() {
                    refill_at = Instant::now() + REFILL;
                    continue;
                }
                if is_shortage && connections.evict_oldest() {
                    let _ = timeout(BACK_OFF, connections.fewer()).await;
                    continue;
                }
                if is_of_connection(&error) {
                    continue;
                }
                sleep(BACK_OFF).await;
            }
        }
    }
}

/// How many descriptors are held in reserve: as many probes are answered at once when the process
/// has no others left.
const RESERVED: usize = 16;

#[cfg(windows)]
const NULL_DEVICE: &str = "NUL";
#[cfg(not(windows))]
const NULL_DEVICE: &str = "/dev/null";

/// File descriptors that are kept open without a use, so that there are some for probes when the
/// process has used up all others.
///
/// Between releasing one and accepting on it, another thread can take it: there are several, and
/// each is tried.
#[derive(Debug)]
pub(super) struct Reserve {
    held: Vec<File>,
}

impl Reserve {
    pub(super) fn new() -> Self {
        let mut reserve = Self {
            held: Vec::with_capacity(RESERVED),
        };
        reserve.refill();
        reserve
    }

    /// Gives one back to the process; `false` if none is left.
    fn release(&mut self) -> bool {
        self.held.pop().is_some()
    }

    fn is_full(&self) -> bool {
        self.held.len() == RESERVED
    }

    /// Opens as many as are missing, as far as the process has any.
    fn refill(&mut self) {
        while !self.is_full() {
            let Ok(file) = File::open(NULL_DEVICE) else {
                return;
            };
            self.held.push(file);
        }
    }
}
