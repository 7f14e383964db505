use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Tokens with fewer characters can be tried out.
pub const SHORTEST_TOKEN: usize = 16;

/// What is wrong with a token, in words that follow its name: the one rule for all of them.
/// Blanks and line ends around it do not matter.
#[must_use]
pub fn token_problem(token: &str) -> Option<&'static str> {
    let token = token.trim();
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        // "пароль" is longer in bytes, and no client can send it.
        Some("has characters that are not visible ASCII, which no bearer token may have")
    } else if token.len() < SHORTEST_TOKEN {
        Some("is shorter than 16 characters, and can be tried out")
    } else {
        None
    }
}

/// A token, of which only a digest is kept: digests have one length, so that a
/// comparison reveals nothing about the token's, and a dump of memory does not have it.
///
/// # Examples
///
/// ```
/// use http::HeaderMap;
/// use http::header::AUTHORIZATION;
/// use tower_ops_core::secret::TokenDigest;
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
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let header = given.next()?.to_str().ok()?;
        // Which of two it is would be a guess.
        if given.next().is_some() {
            return None;
        }
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
