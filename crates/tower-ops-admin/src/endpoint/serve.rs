use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service as _;

use crate::admin::Admin;
use crate::deadline::Deadline;
use crate::endpoint::answering::Answering;
use crate::endpoint::connections::Open;
use crate::remote::RemoteAddr;

/// A prober has its request ready when it connects.
const FIRST_BYTE: Duration = Duration::from_secs(3);

/// One request is all that a connection is for: an idle one would keep others out.
const HEAD: Duration = Duration::from_secs(10);

/// How long a client may take to read its answer, once the service's own time is over.
const SENDING: Duration = Duration::from_secs(30);

/// Serves the one request of a connection.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    admin: Admin,
    answering: Answering,
    open: Open,
) {
    // A look, since being readable may turn out not to be.
    let Ok(Ok(1)) = timeout(FIRST_BYTE, stream.peek(&mut [0])).await else {
        return;
    };
    // An answer goes out when it is written.
    let _ = stream.set_nodelay(true);
    let peer = canonical(peer);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false);
    let deadline = Deadline::within(HEAD + SENDING);
    let moved = deadline.clone();
    // Here, so that it lives until the answer is sent.
    let one = OnceLock::new();
    let service = service_fn(|mut request: Request<Incoming>| {
        open.has_head();
        let open = &open;
        request.extensions_mut().insert(RemoteAddr::new(peer));
        let _ = one.set(answering.begin());
        let time = admin.time_for(request.uri().path());
        moved.move_to(time.map(|time| time.saturating_add(SENDING)));
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
        () = deadline.over() => {}
    }
}

/// An IPv4 peer of a dual-stack socket, as the IPv4 address that it has.
fn canonical(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        IpAddr::V4(ip) => (ip, peer.port()).into(),
        IpAddr::V6(_) => peer,
    }
}
