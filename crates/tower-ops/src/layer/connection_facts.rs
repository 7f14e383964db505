use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::uri::Scheme;
use http::{Extensions, HeaderMap, Request};
use tower_ops_connections::Connection;
use tower_ops_observe::{Ending, Facts, Observe};

use super::client_addr::ClientAddr;
use super::trusted_proxies::TrustedProxies;

/// Records for the other observers on which connection a request came, from whom, and whether it
/// was encrypted.
///
/// The peer is that of the connection, or of axum's or tonic's own server; or, behind [trusted
/// proxies](crate::OpsBuilder::trusted_proxies), the client that these name.
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

    /// Warns, once, if an outer layer of ours has had this very request: it left the id in the
    /// headers. A new request that a handler sends through a router has none there.
    #[cold]
    fn check_nested(&self, headers: &HeaderMap, facts: &Facts) {
        let is_same = |id| headers.values().any(|value| value == id);
        if facts.request_id().is_some_and(is_same) && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a request passes ops.layer() within another layer that gives it an id, and is \
                 counted twice if that is ops.layer() as well: keep the outermost"
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

/// The peer as axum's and tonic's own servers have it.
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
