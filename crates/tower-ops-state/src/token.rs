use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Shorter ones can be tried out.
pub(crate) const SHORTEST: usize = 16;

/// What is let in: the current token and, for a change without a gap, the next one.
#[derive(Default)]
pub(crate) struct Tokens {
    current: Option<Token>,
    next: Option<Token>,
}

/// Kept as its digest: all comparisons take the same time, whatever the lengths, and a
/// dump of memory does not have it.
struct Token([u8; 32]);

/// Which token a client has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Current,
    Next,
}

impl Tokens {
    pub(crate) fn new(current: Option<&str>, next: Option<&str>) -> Self {
        Self {
            current: current.map(Token::new),
            next: next.map(Token::new),
        }
    }

    /// Whether nobody could ever be let in.
    pub(crate) const fn is_empty(&self) -> bool {
        self.current.is_none() && self.next.is_none()
    }

    /// Which token is in `Authorization: Bearer …` (RFC 6750).
    pub(crate) fn shown(&self, headers: &HeaderMap) -> Option<Shown> {
        let header = headers.get(AUTHORIZATION)?;
        let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let digest: [u8; 32] = Sha256::digest(token.trim()).into();
        // Both are always compared: the time does not tell which one it was.
        let is = |token: &Option<Token>| {
            let token = token.as_ref();
            token.is_some_and(|token| bool::from(digest.ct_eq(&token.0)))
        };
        let (current, next) = (is(&self.current), is(&self.next));
        match (current, next) {
            (true, _) => Some(Shown::Current),
            (false, true) => Some(Shown::Next),
            (false, false) => None,
        }
    }
}

impl Token {
    fn new(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

impl Shown {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Next => "next",
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn lets_in_who_has_a_token_and_nobody_else() {
        let tokens = Tokens::new(Some("0123456789abcdef"), Some("fedcba9876543210"));
        let shown = |header: &'static str| {
            let header = (AUTHORIZATION, HeaderValue::from_static(header));
            tokens.shown(&HeaderMap::from_iter([header]))
        };
        assert_eq!(shown("Bearer 0123456789abcdef"), Some(Shown::Current));
        assert_eq!(shown("bearer  fedcba9876543210 "), Some(Shown::Next));
        for bad in [
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcdef0",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
            "Bearer ",
        ] {
            assert_eq!(shown(bad), None, "{bad}");
        }
        assert_eq!(tokens.shown(&HeaderMap::new()), None);
    }
}
