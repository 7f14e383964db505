use http::HeaderMap;
use tower_ops_core::secret::{TokenDigest, WatchedSecret};

/// What is let in: the current token and, for a change without a gap, the next one.
#[derive(Default)]
pub(crate) struct Tokens {
    current: Option<WatchedSecret>,
    next: Option<WatchedSecret>,
}

/// Which token a client has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Current,
    Next,
}

impl Tokens {
    pub(crate) const fn new(current: Option<WatchedSecret>, next: Option<WatchedSecret>) -> Self {
        Self { current, next }
    }

    /// Whether nobody could ever be let in.
    pub(crate) const fn is_empty(&self) -> bool {
        self.current.is_none() && self.next.is_none()
    }

    /// Which token is in `Authorization: Bearer …` (RFC 6750).
    pub(crate) fn shown(&self, headers: &HeaderMap) -> Option<Shown> {
        let given = TokenDigest::from_headers(headers)?;
        // Both are always compared: the time does not tell which one it was.
        let is = |token: &Option<WatchedSecret>| token.as_ref().is_some_and(|it| it.has(&given));
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
        let of = |token: &str| WatchedSecret::new(token.into()).ok();
        let tokens = Tokens::new(of("0123456789abcdef"), of("fedcba9876543210"));
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

    #[tokio::test(start_paused = true)]
    async fn a_token_changes_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        let secret = WatchedSecret::new(tower_ops_core::secret::Secret::from_file(&path));
        let tokens = Tokens::new(secret.ok(), None);
        let shown = |header: &'static str| {
            let header = (AUTHORIZATION, HeaderValue::from_static(header));
            tokens.shown(&HeaderMap::from_iter([header]))
        };
        assert_eq!(shown("Bearer 0123456789abcdef"), Some(Shown::Current));
        std::fs::write(&path, "fedcba9876543210\n").unwrap();
        tokio::time::advance(std::time::Duration::from_secs(10)).await;
        // The file is read on a thread, which a busy machine may hold up for longer than is waited.
        let mut tries = 0;
        while shown("Bearer fedcba9876543210") != Some(Shown::Current) {
            tries += 1;
            assert!(tries < 20_000, "it is never taken up");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(shown("Bearer 0123456789abcdef"), None);
    }
}
