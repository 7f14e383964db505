//! Reading `Host`, and which names no page of somebody else can have.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::HeaderMap;
use http::header::HOST;

/// The host that a request names, without its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host<'a> {
    name: &'a str,
    is_v6: bool,
}

/// Why a request's `Host` cannot be read: there are two, or it is no host and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadHost;

impl<'a> Host<'a> {
    /// Reads the `Host` header; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If there are several, or it is not a host with or without a port (RFC 9112, section 3.2,
    /// wants such requests refused with 400).
    pub fn from_headers(headers: &'a HeaderMap) -> Result<Option<Self>, BadHost> {
        let mut hosts = headers.get_all(HOST).iter();
        let Some(host) = hosts.next() else {
            return Ok(None);
        };
        if hosts.next().is_some() {
            return Err(BadHost);
        }
        let host = host.to_str().map_err(|_| BadHost)?;
        Self::parse(host.trim()).map(Some)
    }

    /// Reads `name`, `name:port`, `192.0.2.7:port` or `[2001:db8::7]:port`. An empty name is one.
    ///
    /// # Errors
    ///
    /// If it is none of these.
    pub fn parse(text: &'a str) -> Result<Self, BadHost> {
        let (name, port, is_v6) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once(']').ok_or(BadHost)?;
                // A zone, such as %eth0, is of the client's machine.
                let address = name.split('%').next().unwrap_or_default();
                address.parse::<Ipv6Addr>().map_err(|_| BadHost)?;
                let port = match port {
                    "" => "",
                    port => port.strip_prefix(':').ok_or(BadHost)?,
                };
                (name, port, true)
            }
            None => match text.split_once(':') {
                Some((name, port)) => (name, port, false),
                None => (text, "", false),
            },
        };
        let in_name =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte);
        if !is_v6 && !name.bytes().all(in_name)
            || port.len() > 5
            || !port.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Err(BadHost);
        }
        Ok(Self { name, is_v6 })
    }

    /// The name or the address, without brackets and port.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// Returns whether no page of somebody else can be served under that name: it is an IP
    /// address, `localhost`, a single label, below `.localhost`, `.local`, `.internal` or `.svc`,
    /// or one of `names`.
    ///
    /// A page of another site whose name resolves to this machine (DNS rebinding) brings the name
    /// of that site.
    #[must_use]
    pub fn is_trusted(&self, names: &[String]) -> bool {
        if self.is_v6 || self.name.parse::<Ipv4Addr>().is_ok() {
            return true;
        }
        let without_dot = |name: &'a str| name.strip_suffix('.').unwrap_or(name);
        let name = without_dot(self.name);
        let configured = |known: &String| {
            let known = known.strip_suffix('.').unwrap_or(known);
            known.eq_ignore_ascii_case(name)
        };
        if names.iter().any(configured) {
            return true;
        }
        let is_label = |label: &str| {
            let in_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            !label.is_empty() && label.bytes().all(in_label)
        };
        let labels: Vec<&str> = name.split('.').collect();
        let last = labels.last().copied().unwrap_or_default();
        let is_inside = ["localhost", "local", "internal", "svc"]
            .iter()
            .any(|known| last.eq_ignore_ascii_case(known));
        labels.iter().all(|label| is_label(label)) && (labels.len() == 1 || is_inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_only_a_neighbour_has_are_trusted() {
        let names = ["Orders.Example.com".to_owned()];
        let trusted = |text: &str| Host::parse(text).map(|host| host.is_trusted(&names));
        for text in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "10.1.2.3:8080",
            "[::1]:8080",
            "[fe80::1%25eth0]",
            "localhost",
            "LOCALHOST:8080",
            "localhost.:8080",
            "orders",
            "orders_1:80",
            "app.localhost",
            "printer.local",
            "host.docker.internal:8080",
            "orders.default.svc",
            "orders.default.svc.cluster.local",
            "orders.example.com",
            "ORDERS.example.COM.:443",
            "localhost:",
        ] {
            assert_eq!(trusted(text), Ok(true), "{text}");
        }
        for text in [
            "",
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io",
            "localhost.evil.example",
            "local.evil",
            "evillocalhost.com",
            ".local",
            "a..local",
            ".",
            "127.1.",
            "svc.evil.example",
            "x.orders.example.com",
            "l%6fcalhost",
        ] {
            assert_eq!(trusted(text), Ok(false), "{text}");
        }
        for text in [
            "localhost@evil.example",
            "evil.example@localhost",
            "localhost/",
            "local host",
            "localhost:80:80",
            "localhost:http",
            "localhost:123456",
            "[::1",
            "[::1]evil.example",
            "[evil.example]",
            "::1",
            "localhost#",
        ] {
            assert_eq!(trusted(text), Err(BadHost), "{text}");
        }
    }

    #[test]
    fn two_hosts_are_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(Host::from_headers(&headers), Ok(None));
        headers.append(HOST, "one".parse().unwrap());
        assert_eq!(Host::from_headers(&headers).unwrap().unwrap().name(), "one");
        headers.append(HOST, "one".parse().unwrap());
        assert_eq!(Host::from_headers(&headers), Err(BadHost));
    }
}
