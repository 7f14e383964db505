use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tower_service::Service as _;

use crate::admin::Admin;
use crate::mount::RemoteAddr;
use crate::server::connections::Open;

/// A prober has its request ready when it connects.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection is for one request only: an idle one would keep others out.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take to read its answer, once the service's own time is over.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves the one request of a connection.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, admin: Admin, open: Open) {
    // Peeked at: a stream that is reported as readable may turn out not to be.
    let Ok(Ok(1)) = timeout(FIRST_BYTE_TIMEOUT, stream.peek(&mut [0])).await else {
        return;
    };
    // An answer goes out when it is written.
    let _ = stream.set_nodelay(true);
    let peer = canonical(peer);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(false);
    let deadline = Deadline::after(HEAD_TIMEOUT + READ_TIMEOUT);
    let moved = deadline.clone();
    let service = service_fn(|mut request: Request<Incoming>| {
        open.has_head();
        let open = &open;
        request.extensions_mut().insert(RemoteAddr::new(peer));
        let limit = admin.timeout_for(request.uri().path());
        moved.move_to(limit.map(|limit| limit.saturating_add(READ_TIMEOUT)));
        let answer = admin.clone().call(request);
        async move {
            let answer = answer.await;
            open.has_answer();
            answer
        }
    });
    let connection = http.serve_connection(TokioIo::new(stream), service);
    // A prober that goes away is no event.
    tokio::select! {
        _ = connection => {}
        () = deadline.passed() => {}
    }
}

/// An IPv4 peer of a dual-stack socket, as the IPv4 address that it has.
fn canonical(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        IpAddr::V4(ip) => (ip, peer.port()).into(),
        IpAddr::V6(_) => peer,
    }
}

/// When a connection is closed at the latest. Moves while it lives.
#[derive(Clone, Debug)]
struct Deadline(watch::Sender<Option<Instant>>);

impl Deadline {
    fn after(limit: Duration) -> Self {
        Self(watch::Sender::new(Instant::now().checked_add(limit)))
    }

    /// Counts from now. `None`, and what no clock can hold, is never.
    fn move_to(&self, limit: Option<Duration>) {
        self.0
            .send_replace(limit.and_then(|limit| Instant::now().checked_add(limit)));
    }

    async fn passed(&self) {
        let mut deadline = self.0.subscribe();
        loop {
            let until = *deadline.borrow_and_update();
            let passed = async {
                match until {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = passed => return,
                // The sender is ours.
                _ = deadline.changed() => {}
            }
        }
    }
}
