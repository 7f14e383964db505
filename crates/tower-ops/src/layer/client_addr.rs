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
pub(crate) mod axum {
    use std::convert::Infallible;
    use std::error::Error;
    use std::fmt;

    use axum::extract::{FromRequestParts, OptionalFromRequestParts};
    use axum::response::{IntoResponse, Response};
    use http::StatusCode;
    use http::request::Parts;

    use super::ClientAddr;

    /// Extracts the client's address.
    ///
    /// Without one the rejection is [`MissingClientAddr`].
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    impl<S: Sync> FromRequestParts<S> for ClientAddr {
        type Rejection = MissingClientAddr;

        async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingClientAddr> {
            let addr = parts.extensions.get().copied();
            addr.ok_or(MissingClientAddr(()))
        }
    }

    /// Extracts the client's address, or `None` where it is not known.
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    impl<S: Sync> OptionalFromRequestParts<S> for ClientAddr {
        type Rejection = Infallible;

        async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
            Ok(parts.extensions.get().copied())
        }
    }

    /// Rejects a request to a handler that extracts [`ClientAddr`] where it is not known.
    ///
    /// Answers `500` with its text. The text names what may be missing.
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MissingClientAddr(());

    impl fmt::Display for MissingClientAddr {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(
                "no client address: add ops.layer() around this route, and set trusted_proxies; a \
                 peer on a Unix socket has no address",
            )
        }
    }

    impl Error for MissingClientAddr {}

    impl IntoResponse for MissingClientAddr {
        fn into_response(self) -> Response {
            (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
        }
    }
}
