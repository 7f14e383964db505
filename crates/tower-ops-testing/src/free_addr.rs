use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Below the ports that systems give to outgoing connections: none of a test's own clients takes
/// an address before the child has bound it.
const FIRST: u16 = 10_000;
const PORTS: u16 = 20_000;

/// The UDP sockets that keep the ports of this process from others, for as long as it runs.
static CLAIMED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// Returns a loopback address that nobody listens on with TCP, for a child process to bind.
///
/// No other call returns it, in this process or in another that runs at the same time: each holds
/// the port's UDP half until it ends, at the cost of a descriptor. What takes ports without this
/// function may still take it first: where the listener can be bound in this process, bind port 0
/// there instead, as [`Server`](crate::Server) does.
///
/// # Panics
///
/// If no port can be bound.
#[must_use]
pub fn free_addr() -> SocketAddr {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    // Two test processes at once begin at different places.
    let next = NEXT.get_or_init(|| {
        let place = std::process::id().wrapping_mul(7_919) % u32::from(PORTS);
        AtomicU16::new(u16::try_from(place).unwrap_or_default())
    });
    for _ in 0..PORTS {
        let port = FIRST + next.fetch_add(1, Ordering::Relaxed) % PORTS;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if let Some(claim) = claim(addr) {
            let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
            claimed.push(claim);
            return addr;
        }
    }
    panic!("no free port on 127.0.0.1");
}

fn claim(addr: SocketAddr) -> Option<UdpSocket> {
    let claim = UdpSocket::bind(addr).ok()?;
    TcpListener::bind(addr).ok().map(|_| claim)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn it_can_be_bound_again() {
        let addr = free_addr();
        assert_ne!(addr.port(), 0);
        TcpListener::bind(addr).unwrap();
    }

    #[test]
    fn no_other_process_gets_it() {
        let addr = free_addr();
        assert!(claim(addr).is_none());
        TcpListener::bind(addr).unwrap();
        let claimed = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        assert!(claim(claimed.local_addr().unwrap()).is_none());
    }

    #[test]
    fn no_two_are_the_same() {
        let addrs: HashSet<_> = (0..100).map(|_| free_addr()).collect();
        assert_eq!(addrs.len(), 100);
    }
}
