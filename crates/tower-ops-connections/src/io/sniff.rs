//! Detects the protocol of a connection from its first bytes.

/// The first bytes of an HTTP/2 client (RFC 9113, section 3.4). No HTTP/1.1 request begins so.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first bytes of a TLS client: a handshake record of any version. No HTTP request begins so.
const TLS: &[u8] = &[0x16, 0x03];

/// The protocol that the first bytes show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sniffed {
    Http1,
    /// The frames of HTTP/2 begin after so many of the bytes.
    Http2(usize),
    /// TLS that this crate does not terminate, so the bytes show no more.
    Tls,
}

/// Detects the protocol from the first bytes, however they are cut.
#[derive(Debug, Default)]
pub(crate) struct Sniff {
    matched: u8,
    tls: bool,
}

impl Sniff {
    /// Takes the next bytes. Returns `None` if these and those before do not decide yet.
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
