use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Tokens with fewer characters can be tried out.
pub const SHORTEST_TOKEN: usize = 16;

/// A token, of which only a digest is kept: digests have one length, so that comparing them
/// tells nothing about the token's, and a dump of memory does not have it.
///
/// # Examples
///
/// ```
/// use http::HeaderMap;
/// use http::header::AUTHORIZATION;
/// use tower_ops_answer::TokenDigest;
///
/// let token = TokenDigest::of("a token of some length");
/// let mut headers = HeaderMap::new();
/// assert!(TokenDigest::from_headers(&headers).is_none());
/// headers.insert(AUTHORIZATION, "Bearer a token of some length".parse().unwrap());
/// assert!(TokenDigest::from_headers(&headers).unwrap().is(&token));
/// ```
#[derive(Clone, Copy)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Of the token, without the blanks around it.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.trim().as_bytes()).into())
    }

    /// Of the one that a request brings along: `authorization: Bearer …` (RFC 6750).
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = header.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| Self::of(token))
    }

    /// Whether it is the same token. Takes the same time, whatever the answer.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// Whether it is one of these. Looks at all of them, always.
    #[must_use]
    pub fn is_one_of(&self, tokens: &[Self]) -> bool {
        tokens
            .iter()
            .fold(false, |found, token| found | self.is(token))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_and_nothing_else() {
        let token = TokenDigest::of(" 0123456789abcdef\n");
        let is = |header: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, header.parse().unwrap());
            let given = TokenDigest::from_headers(&headers);
            given.is_some_and(|given| given.is(&token) && given.is_one_of(&[token]))
        };
        assert!(is("Bearer 0123456789abcdef"));
        assert!(is("bearer  0123456789abcdef "));
        for other in [
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcdef0",
            "Bearer 0123456789abcde",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
            "Bearer ",
            "Bearer",
        ] {
            assert!(!is(other), "{other}");
        }
        assert!(!token.is_one_of(&[]));
        assert!(TokenDigest::from_headers(&HeaderMap::new()).is_none());
    }
}
