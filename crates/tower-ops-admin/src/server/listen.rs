use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;

use socket2::{Domain, Socket, Type};
use tower_ops_core::config::StartError;

/// The ports that port 0 stands for: where people expect such an endpoint.
const SEARCHED: RangeInclusive<u16> = 8080..=9000;

/// Connections that wait to be accepted: many may come at once.
const BACKLOG: i32 = 1024;

/// Listens on the address. Port 0 is the first free one of [`SEARCHED`] or, if `ephemeral`, any
/// that the system gives.
///
/// `[::]` accepts IPv4 as well, and is `0.0.0.0` where the system has no IPv6.
pub(crate) fn listen(addr: SocketAddr, ephemeral: bool) -> Result<TcpListener, StartError> {
    match bind(addr, ephemeral) {
        Err(error) if addr.ip() == SocketAddr::from(([0_u16; 8], 0)).ip() && is_no_v6(&error) => {
            bind((Ipv4Addr::UNSPECIFIED, addr.port()).into(), ephemeral)
        }
        other => other,
    }
}

fn bind(addr: SocketAddr, ephemeral: bool) -> Result<TcpListener, StartError> {
    if addr.port() == 0 && !ephemeral {
        return search(addr);
    }
    bind_one(addr).map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::AddrInUse => {
                "; another process listens there: end it, or choose another address, or port 0 for \
                 a free one"
            }
            ErrorKind::PermissionDenied => "; ports below 1024 need a privilege",
            ErrorKind::AddrNotAvailable => "; this machine does not have the address",
            _ => "",
        };
        let text = format!("the operations endpoint cannot listen on {addr}: {error}{advice}");
        StartError::from_source(error, text)
    })
}

fn search(mut addr: SocketAddr) -> Result<TcpListener, StartError> {
    for port in SEARCHED {
        addr.set_port(port);
        match bind_one(addr) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => {
                let text = format!("the operations endpoint cannot listen on {addr}: {error}");
                return Err(StartError::from_source(error, text));
            }
            Ok(listener) => return Ok(listener),
        }
    }
    let text = format!(
        "the operations endpoint found no free port on {} from {} to {}",
        addr.ip(),
        SEARCHED.start(),
        SEARCHED.end()
    );
    Err(StartError::new(ErrorKind::AddrInUse, text))
}

fn bind_one(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    // As the standard library does: a port is free at once when its process has ended.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        // Whatever the system's default is. Where the system cannot, it listens on IPv6 alone.
        let _ = socket.set_only_v6(false);
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Whether the system has no IPv6 at all, or has no address for it.
fn is_no_v6(error: &StartError) -> bool {
    // EAFNOSUPPORT has no kind of its own.
    let text = error.to_string();
    error.kind() == ErrorKind::AddrNotAvailable
        || error.kind() == ErrorKind::Unsupported
        || text.contains("Address family not supported")
}
