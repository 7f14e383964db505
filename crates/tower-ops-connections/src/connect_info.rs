//! What the frameworks' own servers put into the extensions of each request.

use http::Request;

use crate::Connection;

/// Inserts what axum's and tonic's users look for into a request of the [`Server`](crate::Server):
/// `ConnectInfo<SocketAddr>` for TCP peers, and for gRPC calls what `remote_addr()` reads.
///
/// It is the peer of the socket in any case, whatever a proxy says.
pub(crate) fn insert<B>(request: &mut Request<B>) {
    let peer = Connection::with_current(Connection::peer);
    let Some(peer) = peer else { return };
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

/// With gRPC calls only: it costs others an allocation, and they do not look.
#[cfg(feature = "tonic")]
fn for_tonic<B>(request: &mut Request<B>, peer: crate::Peer) {
    const GRPC: &[u8] = b"application/grpc";
    let content_type = request.headers().get(http::header::CONTENT_TYPE);
    let is_grpc = content_type
        .and_then(|it| it.as_bytes().get(..GRPC.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(GRPC));
    if !is_grpc {
        return;
    }
    match peer {
        crate::Peer::Tcp(addr) => {
            let info = tonic::transport::server::TcpConnectInfo {
                local_addr: None,
                remote_addr: Some(addr),
            };
            request.extensions_mut().insert(info);
        }
        #[cfg(unix)]
        crate::Peer::Unix => {
            let info = tonic::transport::server::UdsConnectInfo {
                peer_addr: None,
                peer_cred: None,
            };
            request.extensions_mut().insert(info);
        }
        _ => {}
    }
}
