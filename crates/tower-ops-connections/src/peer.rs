use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The peer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP client.
    Tcp(SocketAddr),
    /// A process on this machine, over a Unix socket.
    Unix,
    /// Not known.
    Unknown,
}

impl Peer {
    /// Returns the socket address of a TCP client.
    #[must_use]
    pub const fn addr(self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(addr) => Some(addr),
            Self::Unix | Self::Unknown => None,
        }
    }

    /// Returns the address that `max_per_ip` counts by: of IPv6 the /64, since a client with one
    /// address has all of those.
    pub(crate) fn network(self) -> Option<IpAddr> {
        match self.addr()?.ip().to_canonical() {
            IpAddr::V4(ip) => Some(ip.into()),
            IpAddr::V6(ip) => {
                let network = ip.to_bits() & !u128::from(u64::MAX);
                Some(Ipv6Addr::from_bits(network).into())
            }
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp(addr)
    }
}

impl From<&SocketAddr> for Peer {
    fn from(addr: &SocketAddr) -> Self {
        Self::Tcp(*addr)
    }
}

#[cfg(unix)]
impl From<&tokio::net::unix::SocketAddr> for Peer {
    fn from(_: &tokio::net::unix::SocketAddr) -> Self {
        Self::Unix
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "{addr}"),
            Self::Unix => f.write_str("unix"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(addr: &str) -> Option<String> {
        let peer = Peer::from(addr.parse::<SocketAddr>().unwrap());
        peer.network().map(|network| network.to_string())
    }

    #[test]
    fn one_client_cannot_look_like_many() {
        assert_eq!(network("192.0.2.7:1"), Some("192.0.2.7".into()));
        assert_eq!(network("[::ffff:192.0.2.7]:1"), Some("192.0.2.7".into()));
        assert_eq!(
            network("[2001:db8:1:2:3:4:5:6]:1"),
            Some("2001:db8:1:2::".into())
        );
        assert_eq!(Peer::Unix.network(), None);
    }
}
