use std::fmt;

/// Who sent a request, for the audit. Put it into the request's extensions, in a layer
/// that knows; without it the audit has no peer.
///
/// # Examples
///
/// ```
/// # use http::Request;
/// use tower_ops_state::Peer;
///
/// # let mut request = Request::new(());
/// # let address = std::net::SocketAddr::from(([192, 0, 2, 7], 4711));
/// request.extensions_mut().insert(Peer::new(address));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    name: String,
}

impl Peer {
    /// An address, or whatever tells who it is.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "an address is small, and easier to give"
    )]
    pub fn new(peer: impl ToString) -> Self {
        Self {
            name: peer.to_string(),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
