//! What the servers of axum and tonic insert into the extensions of each request.

use http::Request;

use crate::Peer;

/// Inserts what handlers of axum and tonic expect into a request that their servers have not
/// accepted: `ConnectInfo<SocketAddr>` for TCP peers, and for gRPC calls what `remote_addr()` reads.
///
/// It is always the peer of the socket, not the client of a proxy in front.
pub(crate) fn insert<B>(request: &mut Request<B>, peer: Peer) {
    #[cfg(feature = "axum")]
    if let Some(addr) = peer.addr() {
        request
            .extensions_mut()
            .insert(axum::extract::ConnectInfo(addr));
    }
    #[cfg(feature = "tonic")]
    for_tonic(request, peer);
    #[cfg(not(any(feature = "axum", feature = "tonic")))]
    let _ = (request, peer);
}

/// Only for gRPC calls, since it costs an allocation.
#[cfg(feature = "tonic")]
fn for_tonic<B>(request: &mut Request<B>, peer: Peer) {
    const GRPC: &[u8] = b"application/grpc";
    let content_type = request.headers().get(http::header::CONTENT_TYPE);
    let is_grpc = content_type
        .and_then(|it| it.as_bytes().get(..GRPC.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(GRPC));
    if !is_grpc {
        return;
    }
    match peer {
        Peer::Tcp(addr) => {
            let info = tonic::transport::server::TcpConnectInfo {
                local_addr: None,
                remote_addr: Some(addr),
            };
            request.extensions_mut().insert(info);
        }
        #[cfg(unix)]
        Peer::Unix => {
            let info = tonic::transport::server::UdsConnectInfo {
                peer_addr: None,
                peer_cred: None,
            };
            request.extensions_mut().insert(info);
        }
        _ => {}
    }
}
