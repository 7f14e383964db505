use http::HeaderMap;
use tower_ops_answer::TokenDigest;

/// What is let in: the current token and, for a change without a gap, the next one.
#[derive(Default)]
pub(crate) struct Tokens {
    current: Option<TokenDigest>,
    next: Option<TokenDigest>,
}

/// Which token a client has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Current,
    Next,
}

impl Tokens {
    pub(crate) fn new(current: Option<&str>, next: Option<&str>) -> Self {
        Self {
            current: current.map(TokenDigest::of),
            next: next.map(TokenDigest::of),
        }
    }

    /// Whether nobody could ever be let in.
    pub(crate) const fn is_empty(&self) -> bool {
        self.current.is_none() && self.next.is_none()
    }

    /// Which token is in `Authorization: Bearer …` (RFC 6750).
    pub(crate) fn shown(&self, headers: &HeaderMap) -> Option<Shown> {
        let given = TokenDigest::from_headers(headers)?;
        // Both are always compared: the time does not tell which one it was.
        let is = |token: &Option<TokenDigest>| token.is_some_and(|token| given.is(&token));
        let (current, next) = (is(&self.current), is(&self.next));
        match (current, next) {
            (true, _) => Some(Shown::Current),
            (false, true) => Some(Shown::Next),
            (false, false) => None,
        }
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
    use http::header::AUTHORIZATION;

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
