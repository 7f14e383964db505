//! What the frameworks' own servers put into the extensions of each request.

use http::Request;

use crate::Peer;

/// Inserts what axum's and tonic's users look for into a request that no server of theirs has
/// accepted: `ConnectInfo<SocketAddr>` for TCP peers, and for gRPC calls what `remote_addr()` reads.
///
/// It is the peer of the socket in any case, whatever a proxy says.
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

/// With gRPC calls only: it costs others an allocation, and they do not look.
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
