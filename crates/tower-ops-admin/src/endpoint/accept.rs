use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};

use crate::admin::Admin;
use crate::endpoint::answering::Answering;
use crate::endpoint::connections::Connections;
use crate::endpoint::incidents::Incidents;
use crate::endpoint::reserve::Reserve;
use crate::endpoint::serve::serve;

/// How long to wait after a failed accept when nothing can be done about it.
const BACK_OFF: Duration = Duration::from_millis(20);

/// How often the reserve is looked after while it is not full.
const REFILL: Duration = Duration::from_millis(100);

/// Accepts connections for ever. Never waits for a connection that sends nothing, nor for
/// descriptors that others use.
pub(super) async fn accept_all(
    listener: TcpListener,
    mut reserve: Reserve,
    admin: &Admin,
    answering: &Answering,
) {
    let connections = Connections::new(Incidents::new(admin.recorder()));
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
                // Now and not before: nobody gives way until there is somebody to give way to,
                // and never the connection that has only just come.
                while connections.is_full() {
                    if !connections.evict_oldest() {
                        // An answer is being made for each of them, which is bounded in time.
                        connections.fewer().await;
                    }
                }
                let open = connections.open();
                let id = open.id();
                let serving = serve(stream, peer, admin.clone(), answering.clone(), open);
                let task = tokio::spawn(serving);
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
                if is_of_peer(&error) {
                    continue;
                }
                sleep(BACK_OFF).await;
            }
        }
    }
}

/// Whether the process, or the system, has no descriptors left.
fn is_shortage(error: &io::Error) -> bool {
    // EMFILE and ENFILE, everywhere but on Windows: WSAEMFILE.
    matches!(error.raw_os_error(), Some(23 | 24 | 10_024))
}

/// Whether only the one connection is concerned.
fn is_of_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
