use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// A token, of which only a digest is kept: digests have one length, so that comparing them
/// tells nothing about the token's, and a dump of memory does not have it.
#[derive(Clone, Copy)]
pub(crate) struct TokenDigest([u8; 32]);

/// Shorter ones can be tried out.
pub(crate) const SHORTEST: usize = 16;

impl TokenDigest {
    /// Of the token, without the blanks around it; `None` if it is too short.
    pub(crate) fn of(token: &str) -> Option<Self> {
        let token = token.trim();
        (token.len() >= SHORTEST).then(|| Self::given(token))
    }

    fn given(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// What a request brings along: `authorization: Bearer …` (RFC 6750).
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = header.split_once(' ')?;
        let is_bearer = scheme.eq_ignore_ascii_case("bearer");
        is_bearer.then(|| Self::given(token.trim()))
    }

    /// Whether this is one of `tokens`. Looks at all of them, always.
    pub(crate) fn is_one_of(&self, tokens: &[Self]) -> bool {
        let is = |found: Choice, token: &Self| found | self.0.ct_eq(&token.0);
        tokens.iter().fold(Choice::from(0), is).into()
    }
}
