use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What operators show to be let in. Kept as its digest: all comparisons take the
/// same time, whatever the lengths, and a dump of memory does not have it.
#[derive(Clone)]
pub(crate) struct Token([u8; 32]);

/// Shorter ones can be tried out.
pub(crate) const SHORTEST: usize = 16;

impl Token {
    pub(crate) fn new(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Whether a request has the token: `Authorization: Bearer …` (RFC 6750).
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        let header = headers.get(AUTHORIZATION);
        let Some((scheme, token)) = header
            .and_then(|header| header.to_str().ok())
            .and_then(|header| header.split_once(' '))
        else {
            return false;
        };
        let digest: [u8; 32] = Sha256::digest(token.trim()).into();
        scheme.eq_ignore_ascii_case("bearer") && bool::from(digest.ct_eq(&self.0))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn lets_in_who_has_the_token_and_nobody_else() {
        let token = Token::new("0123456789abcdef");
        let allows = |header: &str| {
            let request = Request::builder().header(AUTHORIZATION, header);
            token.is_in(request.body(()).unwrap().headers())
        };
        assert!(allows("Bearer 0123456789abcdef"));
        assert!(allows("bearer  0123456789abcdef "));
        assert!(!allows("Bearer 0123456789abcdeF"));
        assert!(!allows("Bearer 0123456789abcdef0"));
        assert!(!allows("Basic 0123456789abcdef"));
        assert!(!allows("0123456789abcdef"));
        assert!(!allows("Bearer "));
        assert!(!token.is_in(&HeaderMap::new()));
    }
}
