use std::fmt;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// Not enough has come to tell.
    Unknown,
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// What came after an upgrade: a WebSocket, a tunnel.
    Upgraded,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Http1, Self::Http2, Self::Upgraded];

    /// The protocol as metrics and `/connections` name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Upgraded => "upgraded",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    pub(crate) const fn from_index(index: u8) -> Self {
        match index {
            1 => Self::Http1,
            2 => Self::Http2,
            3 => Self::Upgraded,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an HTTP/2 client sends first (RFC 9113, section 3.4), and no HTTP/1.1
/// request begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Tells the protocol from the first bytes, however they are cut.
#[derive(Debug, Default)]
pub(crate) struct Sniff {
    matched: u8,
}

impl Sniff {
    /// `None` as long as these bytes, and those before them, leave it open.
    pub(crate) fn tell(&mut self, bytes: &[u8]) -> Option<Protocol> {
        let rest = PREFACE.get(usize::from(self.matched)..).unwrap_or_default();
        let common = rest.len().min(bytes.len());
        if rest[..common] != bytes[..common] {
            return Some(Protocol::Http1);
        }
        if common == rest.len() {
            return Some(Protocol::Http2);
        }
        // Shorter than the preface, so it fits.
        self.matched += u8::try_from(common).unwrap_or(u8::MAX);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(parts: &[&[u8]]) -> Option<Protocol> {
        let mut sniff = Sniff::default();
        parts.iter().find_map(|part| sniff.tell(part))
    }

    #[test]
    fn the_preface_may_come_in_any_pieces() {
        for cut in 0..PREFACE.len() {
            let (head, tail) = PREFACE.split_at(cut);
            assert_eq!(tell(&[head]), None);
            assert_eq!(tell(&[head, tail]), Some(Protocol::Http2));
            assert_eq!(tell(&[head, b"x"]), Some(Protocol::Http1));
        }
        assert_eq!(tell(&[PREFACE, b"and more"]), Some(Protocol::Http2));
        assert_eq!(tell(&[b"PRI * HTTP/1.1\r\n"]), Some(Protocol::Http1));
        assert_eq!(tell(&[b"GET"]), Some(Protocol::Http1));
    }
}
