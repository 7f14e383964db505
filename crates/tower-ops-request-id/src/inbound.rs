use std::fmt;
use std::sync::Arc;

use http::{Extensions, HeaderMap, Method, Request, Uri};

/// Whether to take the id that a request brings along.
///
/// An invalid id is replaced under every policy.
///
/// # Examples
///
/// Only what comes from the local network is believed:
///
/// ```
/// use std::net::{IpAddr, SocketAddr};
/// use tower_ops_request_id::{Inbound, RequestIdLayer};
///
/// # #[derive(Clone)] struct Peer(SocketAddr);
/// let layer = RequestIdLayer::new().with_inbound(Inbound::accept_if(|head| {
///     head.extensions()
///         .get::<Peer>() // axum: ConnectInfo<SocketAddr>
///         .is_some_and(|Peer(addr)| matches!(addr.ip(), IpAddr::V4(ip) if ip.is_private()))
/// }));
/// # let _ = layer;
/// ```
#[derive(Clone, Default)]
pub struct Inbound(Policy);

#[derive(Clone, Default)]
enum Policy {
    #[default]
    Accept,
    Replace,
    AcceptIf(Arc<dyn Fn(&RequestHead<'_>) -> bool + Send + Sync>),
}

impl Inbound {
    /// Takes a valid id. The default, right behind a proxy that sets ids.
    #[must_use]
    pub const fn accept() -> Self {
        Self(Policy::Accept)
    }

    /// Gives every request a new id: right at the edge, where a client must not
    /// choose what stands in the logs.
    #[must_use]
    pub const fn replace() -> Self {
        Self(Policy::Replace)
    }

    /// Takes a valid id if the predicate returns `true`, for example for a trusted peer.
    #[must_use]
    pub fn accept_if(predicate: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self(Policy::AcceptIf(Arc::new(predicate)))
    }

    pub(crate) fn accepts<B>(&self, request: &Request<B>) -> bool {
        match &self.0 {
            Policy::Accept => true,
            Policy::Replace => false,
            Policy::AcceptIf(predicate) => predicate(&RequestHead {
                method: request.method(),
                uri: request.uri(),
                headers: request.headers(),
                extensions: request.extensions(),
            }),
        }
    }
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Policy::Accept => "Inbound::accept()",
            Policy::Replace => "Inbound::replace()",
            Policy::AcceptIf(_) => "Inbound::accept_if(..)",
        })
    }
}

/// A request's head, for [`Inbound::accept_if`].
#[derive(Debug)]
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> RequestHead<'a> {
    /// The method.
    #[must_use]
    pub const fn method(&self) -> &'a Method {
        self.method
    }

    /// The target.
    #[must_use]
    pub const fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// The headers.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The extensions, where servers put the peer's address.
    #[must_use]
    pub const fn extensions(&self) -> &'a Extensions {
        self.extensions
    }
}
