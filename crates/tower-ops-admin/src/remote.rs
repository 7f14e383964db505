use std::net::SocketAddr;

/// Who is at the other end of the connection, in the extensions of a request that came over an
/// `Endpoint`: for a mounted service that writes down who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RemoteAddr(SocketAddr);

impl RemoteAddr {
    /// The address of a client.
    #[must_use]
    pub const fn new(addr: SocketAddr) -> Self {
        Self(addr)
    }

    /// The address.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.0
    }
}
