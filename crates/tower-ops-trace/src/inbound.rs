use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use tower_ops_observe::Facts;

/// Whether to go on with the trace that a request brings along.
///
/// What is not trusted is not lost: the new trace remembers the caller's as a link.
///
/// # Examples
///
/// The local network is trusted, and all others begin traces of their own:
///
/// ```
/// use std::net::IpAddr;
/// use tower_ops_trace::{Inbound, Spans};
///
/// let inbound = Inbound::accept_if(|facts, _| {
///     facts.peer().is_some_and(|peer| matches!(peer.ip(), IpAddr::V4(ip) if ip.is_private()))
/// });
/// let spans = Spans::new().with_inbound(inbound);
/// # let _ = spans;
/// ```
#[derive(Clone, Default)]
pub struct Inbound(Policy);

type Predicate = dyn Fn(&Facts, &HeaderMap) -> bool + Send + Sync;

#[derive(Clone, Default)]
enum Policy {
    #[default]
    Accept,
    PublicEndpoint,
    AcceptIf(Arc<Predicate>),
}

impl Inbound {
    /// Goes on with a valid trace. The default: behind a gateway, among one's own services.
    #[must_use]
    pub const fn accept() -> Self {
        Self(Policy::Accept)
    }

    /// Begins a new trace for every request, which links to the caller's: at the edge, where
    /// strangers must not choose ids nor have traces recorded. Their `tracestate` is dropped.
    #[must_use]
    pub const fn public_endpoint() -> Self {
        Self(Policy::PublicEndpoint)
    }

    /// Goes on with a valid trace if the predicate accepts it, by what is known of the request and
    /// by its headers.
    ///
    /// [`Facts::peer`] is the address of who sent it where an observer before this one sets it.
    #[must_use]
    pub fn accept_if(
        predicate: impl Fn(&Facts, &HeaderMap) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self(Policy::AcceptIf(Arc::new(predicate)))
    }

    pub(crate) fn accepts(&self, facts: &Facts, headers: &HeaderMap) -> bool {
        match &self.0 {
            Policy::Accept => true,
            Policy::PublicEndpoint => false,
            Policy::AcceptIf(predicate) => predicate(facts, headers),
        }
    }
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Policy::Accept => "Inbound::accept()",
            Policy::PublicEndpoint => "Inbound::public_endpoint()",
            Policy::AcceptIf(_) => "Inbound::accept_if(..)",
        })
    }
}
