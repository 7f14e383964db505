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

/// How a TLS client begins: a record with a handshake, of any version. No HTTP
/// request does.
const TLS: &[u8] = &[0x16, 0x03];

/// What the first bytes of a connection show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sniffed {
    Http1,
    /// After so many of the bytes, HTTP/2's frames begin.
    Http2(usize),
    /// TLS that is not ours: no byte can be read.
    Tls,
}

/// Detects the protocol from the first bytes, however they are cut.
#[derive(Debug, Default)]
pub(crate) struct Sniff {
    matched: u8,
    tls: bool,
}

impl Sniff {
    /// `None` as long as these bytes, and those before them, leave it open.
    pub(crate) fn detect(&mut self, bytes: &[u8]) -> Option<Sniffed> {
        if self.matched == 0 || self.tls {
            let rest = &TLS[usize::from(self.matched)..];
            let common = rest.len().min(bytes.len());
            if common > 0 && rest[..common] == bytes[..common] {
                self.tls = true;
                self.matched += u8::try_from(common).unwrap_or(u8::MAX);
                return (common == rest.len()).then_some(Sniffed::Tls);
            }
            if self.tls && common > 0 {
                return Some(Sniffed::Http1);
            }
        }
        let rest = PREFACE.get(usize::from(self.matched)..).unwrap_or_default();
        let common = rest.len().min(bytes.len());
        if rest[..common] != bytes[..common] {
            return Some(Sniffed::Http1);
        }
        if common == rest.len() {
            return Some(Sniffed::Http2(common));
        }
        // Shorter than the preface, so it fits.
        self.matched += u8::try_from(common).unwrap_or(u8::MAX);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(parts: &[&[u8]]) -> Option<Sniffed> {
        let mut sniff = Sniff::default();
        parts.iter().find_map(|part| sniff.detect(part))
    }

    #[test]
    fn the_preface_may_come_in_any_pieces() {
        for cut in 0..PREFACE.len() {
            let (head, tail) = PREFACE.split_at(cut);
            assert_eq!(detect(&[head]), None);
            assert_eq!(detect(&[head, tail]), Some(Sniffed::Http2(tail.len())));
            assert_eq!(detect(&[head, b"x"]), Some(Sniffed::Http1));
        }
        let all = [PREFACE, b"and more"].concat();
        assert_eq!(detect(&[&all]), Some(Sniffed::Http2(PREFACE.len())));
        assert_eq!(detect(&[b"PRI * HTTP/1.1\r\n"]), Some(Sniffed::Http1));
        assert_eq!(detect(&[b"GET"]), Some(Sniffed::Http1));
    }

    #[test]
    fn tls_is_detected_in_any_pieces_too() {
        assert_eq!(detect(&[b"\x16\x03\x01\x02\x00"]), Some(Sniffed::Tls));
        assert_eq!(detect(&[b"\x16"]), None);
        assert_eq!(detect(&[b"\x16", b"\x03"]), Some(Sniffed::Tls));
        assert_eq!(detect(&[b"\x16", b"\x04"]), Some(Sniffed::Http1));
    }
}
