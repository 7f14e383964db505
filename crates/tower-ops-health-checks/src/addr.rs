//! Addresses of the form `host:port`.

/// Returns what is wrong with a host and a port, if anything is.
pub(crate) fn problem(addr: &str) -> Option<String> {
    let parts = addr.rsplit_once(':');
    let is_good = parts.is_some_and(|(host, port)| {
        let port = port.parse::<u16>().is_ok_and(|port| port > 0);
        let bracketed = host.starts_with('[') && host.ends_with(']');
        port && !host.is_empty() && (bracketed || !host.contains(':'))
    });
    (!is_good).then(|| format!("address: {addr:?} is not a host, ':' and a port from 1 to 65535"))
}

/// Returns the host without brackets.
#[cfg(feature = "tls")]
pub(crate) fn host(addr: &str) -> &str {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}
