use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Returns a loopback address that nobody listened on a moment ago, for a child process to bind.
///
/// Another process may take it first: where the listener can be bound in this process, bind port
/// 0 there instead, as [`Server`](crate::Server) does.
///
/// # Panics
///
/// If no port can be bound.
#[must_use]
pub fn free_addr() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("bind a free port on 127.0.0.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_can_be_bound_again() {
        let addr = free_addr();
        assert_ne!(addr.port(), 0);
        TcpListener::bind(addr).unwrap();
    }
}
