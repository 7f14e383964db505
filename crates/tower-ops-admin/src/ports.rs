use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;

/// Where port 0 is looked for: where people expect such an endpoint.
const SEARCHED: RangeInclusive<u16> = 8080..=9000;

/// Listens on the address, or on the first free port of the range if its port is 0.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let listener = if addr.port() == 0 {
        search(addr)?
    } else {
        TcpListener::bind(addr).map_err(|error| {
            let advice = match error.kind() {
                ErrorKind::AddrInUse => {
                    "; another process has it: end that, or choose another address, or port 0 for \
                     a free one"
                }
                ErrorKind::PermissionDenied => "; ports below 1024 need a privilege",
                _ => "",
            };
            let text = format!("the operations endpoint cannot listen on {addr}: {error}{advice}");
            io::Error::new(error.kind(), text)
        })?
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn search(mut addr: SocketAddr) -> io::Result<TcpListener> {
    for port in SEARCHED {
        addr.set_port(port);
        match TcpListener::bind(addr) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            other => return other,
        }
    }
    let text = format!(
        "the operations endpoint found no free port on {} from {} to {}",
        addr.ip(),
        SEARCHED.start(),
        SEARCHED.end()
    );
    Err(io::Error::new(ErrorKind::AddrInUse, text))
}
