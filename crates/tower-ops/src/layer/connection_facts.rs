use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::uri::Scheme;
use http::{Extensions, HeaderMap, Request};
use tower_ops_connections::Connection;
use tower_ops_observe::{Ending, Facts, Observe};

use super::client_addr::ClientAddr;
use super::trusted_proxies::TrustedProxies;

/// Records for the other observers on which connection a request came, from which peer, and whether
/// it was encrypted.
///
/// The peer is that of the connection, or the one that axum's or tonic's own server puts into the
/// request. Behind [trusted proxies](crate::OpsBuilder::trusted_proxies) it is the client.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ConnectionFacts {
    pub(crate) proxies: Option<Arc<TrustedProxies>>,
    /// Whether the warning that the layer stands twice was logged.
    warned: Arc<AtomicBool>,
}

impl ConnectionFacts {
    pub(crate) fn new(proxies: Option<Arc<TrustedProxies>>) -> Self {
        Self {
            proxies,
            warned: Arc::default(),
        }
    }

    /// Logs a warning, once, if this very request has passed an outer layer of ours, which left the
    /// id in its headers. A new request, which a handler sends through a router, has no id there.
    #[cold]
    fn check_nested(&self, headers: &HeaderMap, facts: &Facts) {
        let is_same = |id| headers.values().any(|value| value == id);
        if facts.request_id().is_some_and(is_same) && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a request passes ops.layer() inside of another layer that gives it an id; if that is \
                 ops.layer() as well, requests are counted twice: keep only the outermost"
            );
        }
    }
}

impl Observe for ConnectionFacts {
    type Exchange = ();

    #[inline]
    fn on_request<B>(&self, request: &mut Request<B>, facts: &mut Facts) {
        if facts.is_nested() {
            self.check_nested(request.headers(), facts);
        }
        let peer = Connection::with_current(|connection| {
            connection.set_watched();
            facts.set_connection(connection.id());
            if let Some(is_tls) = connection.is_tls() {
                let scheme = if is_tls { Scheme::HTTPS } else { Scheme::HTTP };
                facts.set_scheme(&scheme);
            }
            connection.peer().addr()
        });
        let Some(peer) = peer.flatten().or_else(|| of_server(request.extensions())) else {
            return;
        };
        let Some(proxies) = &self.proxies else {
            return facts.set_peer(peer);
        };
        let client = proxies.client(peer, request.headers());
        facts.set_peer(client);
        request.extensions_mut().insert(ClientAddr::new(client));
    }

    #[inline]
    fn on_end(&self, (): &mut (), _: &Ending<'_>, _: &Facts) {}
}

/// Returns the peer that axum's or tonic's own server has put into the request.
fn of_server(extensions: &Extensions) -> Option<SocketAddr> {
    #[cfg(feature = "axum")]
    if let Some(axum::extract::ConnectInfo(addr)) = extensions.get() {
        return Some(*addr);
    }
    #[cfg(feature = "tonic")]
    if let Some(info) = extensions.get::<tonic::transport::server::TcpConnectInfo>() {
        return info.remote_addr();
    }
    let _ = extensions;
    None
}
