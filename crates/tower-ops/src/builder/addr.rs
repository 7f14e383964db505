use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// An address for [`OpsBuilder::ops_addr`](crate::OpsBuilder::ops_addr): text such as
/// `"0.0.0.0:8080"`, a [`SocketAddr`], or an IP address and a port.
///
/// Sealed. Text that is no such address is one of the problems that
/// [`build`](crate::OpsBuilder::build) lists.
///
/// # Examples
///
/// ```
/// use std::net::{Ipv4Addr, SocketAddr};
/// use tower_ops::Ops;
///
/// let addr: SocketAddr = "127.0.0.1:9000".parse()?;
/// let _ = Ops::builder("orders").ops_addr(addr);
/// let _ = Ops::builder("orders").ops_addr((Ipv4Addr::LOCALHOST, 9000));
/// let _ = Ops::builder("orders").ops_addr(([127, 0, 0, 1], 9000));
/// let _ = Ops::builder("orders").ops_addr("127.0.0.1:9000");
/// # Ok::<_, std::net::AddrParseError>(())
/// ```
pub trait OpsAddr: sealed::IntoText {}

impl<A: sealed::IntoText> OpsAddr for A {}

mod sealed {
    #[allow(unnameable_types, reason = "sealed")]
    pub trait IntoText {
        fn into_text(self) -> String;
    }
}

pub(super) fn into_text(addr: impl OpsAddr) -> String {
    addr.into_text()
}

impl sealed::IntoText for String {
    fn into_text(self) -> String {
        self
    }
}

impl sealed::IntoText for &String {
    fn into_text(self) -> String {
        self.clone()
    }
}

impl sealed::IntoText for &str {
    fn into_text(self) -> String {
        self.to_owned()
    }
}

impl sealed::IntoText for std::borrow::Cow<'_, str> {
    fn into_text(self) -> String {
        self.into_owned()
    }
}

impl sealed::IntoText for SocketAddr {
    fn into_text(self) -> String {
        self.to_string()
    }
}

impl sealed::IntoText for SocketAddrV4 {
    fn into_text(self) -> String {
        self.to_string()
    }
}

impl sealed::IntoText for SocketAddrV6 {
    fn into_text(self) -> String {
        self.to_string()
    }
}

macro_rules! with_a_port {
    ($($ip:ty),*) => {$(
        impl sealed::IntoText for ($ip, u16) {
            fn into_text(self) -> String {
                SocketAddr::from(self).to_string()
            }
        }
    )*};
}

with_a_port!(IpAddr, Ipv4Addr, Ipv6Addr, [u8; 4], [u8; 16]);
