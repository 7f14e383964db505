use std::net::{IpAddr, SocketAddr};

/// The address of the client behind [trusted proxies](crate::OpsBuilder::trusted_proxies). It is in
/// the extensions of each request that passes an [`OpsLayer`](crate::OpsLayer), and with the feature
/// `axum` it is an extractor.
///
/// It is the address that the proxies forward, or the peer of the socket if that is not a trusted
/// proxy. `ConnectInfo` stays the peer of the socket.
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_ops::{ClientAddr, Ops};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ops = Ops::builder("orders").trusted_proxies(["10.0.0.0/8"]).build()?;
/// let app: Router = Router::new()
///     .route("/", get(async |client: ClientAddr| client.ip().to_string()))
///     .layer(ops.layer());
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddr(SocketAddr);

impl ClientAddr {
    pub(crate) const fn new(addr: SocketAddr) -> Self {
        Self(addr)
    }

    /// Returns the address.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.0.ip()
    }

    /// Returns the port, which proxies seldom forward.
    #[must_use]
    pub const fn port(self) -> Option<u16> {
        match self.0.port() {
            0 => None,
            port => Some(port),
        }
    }
}

#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Send + Sync> axum::extract::FromRequestParts<S> for ClientAddr {
    type Rejection = (http::StatusCode, &'static str);

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        parts.extensions.get().copied().ok_or((
            http::StatusCode::INTERNAL_SERVER_ERROR,
            "ClientAddr: the request passed no OpsLayer, trusted_proxies is not set, or the peer has no \
             address",
        ))
    }
}
