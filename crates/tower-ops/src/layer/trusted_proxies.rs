//! The address of a client behind trusted proxies, by `Forwarded` (RFC 7239) and `X-Forwarded-For`.

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How many hops are read: a client may send as many as fit into a head.
const MOST_HOPS: usize = 64;

/// The networks of the trusted proxies.
#[derive(Debug)]
pub(crate) struct TrustedProxies {
    networks: Vec<Network>,
}

/// An address and how many of its bits count, as if all were IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    bits: u128,
    mask: u128,
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("trusted_proxies: {text:?} {why}, such as \"10.0.0.0/8\" or \"2001:db8::/32\"")
        };
        let (ip, length) = match text.split_once('/') {
            Some((ip, length)) => (ip, Some(length)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| wrong("is not a network"))?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let length: u32 = match length {
            None => most,
            Some(digits) if digits.bytes().all(|it| it.is_ascii_digit()) => digits
                .parse()
                .ok()
                .filter(|length| *length <= most)
                .ok_or_else(|| wrong("has a prefix of no such length"))?,
            Some(_) => return Err(wrong("has a prefix of no such length")),
        };
        let mask = u128::MAX.checked_shl(most - length).unwrap_or(0);
        let network = Self {
            bits: bits(ip),
            mask,
        };
        if network.bits & !mask != 0 {
            return Err(wrong("has bits set after its prefix"));
        }
        Ok(network)
    }

    fn contains(self, ip: IpAddr) -> bool {
        (bits(ip) ^ self.bits) & self.mask == 0
    }
}

/// Returns IPv4 as mapped into IPv6, which is how a socket for both shows its peers.
fn bits(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

impl TrustedProxies {
    /// Returns `None` without networks. The error lists every problem.
    pub(crate) fn parse(networks: &[String]) -> Result<Option<Self>, Vec<String>> {
        let mut problems = Vec::new();
        let mut parsed = Vec::new();
        for text in networks {
            match Network::parse(text.trim()) {
                Ok(network) => parsed.push(network),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok((!parsed.is_empty()).then_some(Self { networks: parsed }))
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(ip))
    }

    /// Returns who sent a request that came from `peer`: the last address that is not a trusted
    /// proxy's. Text that is no address ends the search at the address to its right.
    ///
    /// If both headers are there and disagree, returns `peer`: one of them passed a proxy that does
    /// not know that header, so the client itself may have sent it.
    pub(crate) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        if !self.trusts(peer.ip()) {
            return peer;
        }
        let joined = |name: &HeaderName| {
            let lines = headers.get_all(name).iter();
            let lines: Vec<_> = lines.map(|line| line.to_str().unwrap_or("?")).collect();
            (!lines.is_empty()).then(|| lines.join(","))
        };
        let by_forwarded = joined(&FORWARDED).map(|line| {
            let elements = split(&line, ',').unwrap_or_default();
            self.walk(peer, elements.into_iter().rev().map(forwarded))
        });
        let by_list =
            joined(&X_FORWARDED_FOR).map(|line| self.walk(peer, line.rsplit(',').map(node)));
        match (by_forwarded, by_list) {
            (Some(one), Some(other)) if one.ip() == other.ip() => one,
            (Some(_), Some(_)) | (None, None) => peer,
            (Some(client), None) | (None, Some(client)) => client,
        }
    }

    fn walk(&self, peer: SocketAddr, hops: impl Iterator<Item = Option<SocketAddr>>) -> SocketAddr {
        let mut client = peer;
        for hop in hops.take(MOST_HOPS) {
            let Some(addr) = hop else {
                break;
            };
            client = addr;
            if !self.trusts(client.ip()) {
                break;
            }
        }
        client
    }
}

/// Splits outside of quotes. Returns `None` for a quote that is not closed: a client sends one to
/// have the part that the proxy appends count as a part of its own.
fn split(text: &str, by: char) -> Option<Vec<&str>> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(|it: char| {
        let was_escaped = std::mem::take(&mut escaped);
        match it {
            '"' if !was_escaped => quoted = !quoted,
            '\\' if quoted && !was_escaped => escaped = true,
            _ => {}
        }
        it == by && !quoted
    });
    let parts = parts.collect();
    (!quoted).then_some(parts)
}

/// Returns the address in the `for` of one element of `Forwarded`.
fn forwarded(element: &str) -> Option<SocketAddr> {
    let mut found = None;
    for pair in split(element, ';')? {
        let Some((name, value)) = pair.split_once('=') else {
            continue;
        };
        if name.trim().eq_ignore_ascii_case("for") {
            if found.is_some() {
                return None; // ambiguous
            }
            let value = value.trim();
            let unquoted = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
            found = Some(node(unquoted.unwrap_or(value))?);
        }
    }
    found
}

/// Parses an address with or without a port: IPv6 in brackets, or bare without a port.
fn node(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let addr = text
        .parse::<SocketAddr>()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)));
    if let Ok(addr) = addr {
        return Some(SocketAddr::new(addr.ip().to_canonical(), addr.port()));
    }
    // With an obfuscated port the address is valid all the same.
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => text.split_once(':')?,
    };
    let port = port.strip_prefix(':').unwrap_or(port);
    let is_obfuscated = port.is_empty() || port.starts_with('_');
    let ip: IpAddr = host.parse().ok().filter(|_| is_obfuscated)?;
    Some(SocketAddr::new(ip.to_canonical(), 0))
}

#[cfg(test)]
mod tests;
