use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use tower_ops_core::secret::{Secret, TokenDigest, WatchedSecret};

/// Who may see more than a status: names of checks, errors, numbers, times.
///
/// All others get the status, and never 401: a prober that is refused restarts healthy processes.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Details {
    /// Nobody. The default.
    #[default]
    Never,
    /// Everybody who can reach the service.
    Always,
    /// Holders of the token, as `authorization: Bearer …` or as `auth=…` in the query.
    ///
    /// Proxies write queries to their logs: prefer the header.
    Token(Token),
    /// Those whose headers a closure accepts. For a process with one place for its tokens.
    If(Allowed),
}

impl Details {
    /// Allows those whose headers `allowed` accepts. It is called for each request, and must neither
    /// block nor panic.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_ops_health::{Details, Health};
    ///
    /// let health = Health::builder()
    ///     .details(Details::allowed_if(|headers| headers.contains_key("x-inside")))
    ///     .build()?;
    /// # Ok::<(), tower_ops_health::ConfigError>(())
    /// ```
    #[must_use]
    pub fn allowed_if(allowed: impl Fn(&HeaderMap) -> bool + Send + Sync + 'static) -> Self {
        Self::If(Allowed {
            allowed: Arc::new(allowed),
            hides_names: true,
        })
    }

    /// Allows holders of `token`; `None` is [`Never`](Self::Never). With a token the names of
    /// checks, and the status of each, are details too.
    ///
    /// A token has at least 16 characters, all of them visible ASCII. Building the
    /// [`Health`](crate::Health) fails with any other.
    #[must_use]
    pub fn token<T: AsRef<str>>(token: Option<T>) -> Self {
        token.map_or(Self::Never, |token| Self::Token(Token::new(token.as_ref())))
    }

    /// Allows holders of the token in the environment variable `name`. Building the
    /// [`Health`](crate::Health) fails if it is not set, or empty.
    #[must_use]
    pub fn token_from_env(name: &str) -> Self {
        Self::secret(&Secret::from_env(name))
    }

    /// Allows holders of a [`Secret`], as [`token`](Self::token) does. Reads a file now, and again
    /// as described at [`Secret::from_file`].
    #[must_use]
    pub fn secret(secret: &Secret) -> Self {
        Self::Token(Token::of(secret))
    }

    pub(crate) fn problem(&self) -> Option<String> {
        let Self::Token(Token {
            secret: Err(problem),
        }) = self
        else {
            return None;
        };
        Some(format!(
            "details: the token: {problem}; Details::Never needs none"
        ))
    }

    /// Returns whether the names of checks, and the status of each, are details too.
    pub(crate) const fn hides_names(&self) -> bool {
        match self {
            Self::Never | Self::Always => false,
            Self::Token(_) => true,
            Self::If(allowed) => allowed.hides_names,
        }
    }

    /// Makes the names of checks, and the status of each, public, where
    /// [`allowed_if`](Self::allowed_if) decides about the rest.
    #[must_use]
    pub fn with_public_names(mut self) -> Self {
        if let Self::If(allowed) = &mut self {
            allowed.hides_names = false;
        }
        self
    }

    /// Returns whether the sender of a request may see details.
    pub(crate) fn allow(&self, headers: &HeaderMap, auth: Option<&str>) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::If(Allowed { allowed, .. }) => allowed(headers),
            Self::Token(token) => {
                // Both are compared: a wrong header does not shadow a right query.
                let is = |given: Option<TokenDigest>| given.is_some_and(|given| token.is(&given));
                is(TokenDigest::from_headers(headers)) | is(auth.map(TokenDigest::of))
            }
        }
    }

    pub(crate) const fn asks_for_token(&self) -> bool {
        matches!(self, Self::Token(_) | Self::If(_))
    }
}

/// The closure of [`Details::allowed_if`].
#[derive(Clone)]
pub struct Allowed {
    allowed: Arc<dyn Fn(&HeaderMap) -> bool + Send + Sync>,
    hides_names: bool,
}

impl fmt::Debug for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allowed").finish_non_exhaustive()
    }
}

/// A token, of which only a digest is kept.
#[derive(Clone)]
pub struct Token {
    /// Or its problem, with which no `Health` is built.
    secret: Result<WatchedSecret, String>,
}

impl Token {
    /// Makes a token.
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self::of(&Secret::new(token))
    }

    fn of(secret: &Secret) -> Self {
        Self {
            secret: WatchedSecret::new(secret.clone()),
        }
    }

    fn is(&self, given: &TokenDigest) -> bool {
        let secret = self.secret.as_ref();
        secret.is_ok_and(|secret| secret.has(given))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;

    fn bearer(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[test]
    fn a_token_opens_and_nothing_else_does() {
        let details = Details::token(Some("0123456789s3cret"));
        let none = HeaderMap::new();
        assert!(details.allow(&bearer("Bearer 0123456789s3cret"), None));
        assert!(details.allow(&bearer("bearer  0123456789s3cret"), None));
        assert!(details.allow(&none, Some("0123456789s3cret")));
        assert!(details.allow(&bearer("Bearer wrong"), Some("0123456789s3cret")));
        for wrong in [
            "Bearer 0123456789s3cre",
            "Bearer 0123456789s3cret2",
            "Bearer ",
            "Basic 0123456789s3cret",
            "0123456789s3cret",
        ] {
            assert!(!details.allow(&bearer(wrong), None), "{wrong}");
        }
        assert!(!details.allow(&none, None));
        assert!(!details.allow(&none, Some("")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_changes_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "the-current-token\n").unwrap();
        let details = Details::secret(&Secret::from_file(&path));
        let may = |token: &str| details.allow(&bearer(&format!("Bearer {token}")), None);
        assert!(may("the-current-token"));
        std::fs::write(&path, "the-token-after-it\n").unwrap();
        tokio::time::advance(std::time::Duration::from_secs(10)).await;
        // The file is read on a thread, which a busy machine may hold up for longer than is waited.
        let mut tries = 0;
        while !may("the-token-after-it") {
            tries += 1;
            assert!(tries < 20_000, "it is never taken up");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(!may("the-current-token"));
    }

    #[test]
    fn a_closure_decides_by_the_headers() {
        let details = Details::allowed_if(|headers| headers.contains_key(AUTHORIZATION));
        assert!(details.allow(&bearer("Bearer any"), None));
        assert!(!details.allow(&HeaderMap::new(), Some("any")));
        assert!(details.problem().is_none() && details.asks_for_token());
    }

    #[test]
    fn a_missing_token_is_a_problem_and_none_is_not() {
        assert!(Details::token(Some(" ")).problem().is_some());
        assert!(!Details::token(Some(" ")).allow(&HeaderMap::new(), Some("")));
        let unset = Details::token_from_env("TOWER_OPS_HEALTH_NEVER_SET");
        assert!(
            unset
                .problem()
                .unwrap()
                .contains("TOWER_OPS_HEALTH_NEVER_SET")
        );
        assert!(!unset.allow(&bearer("Bearer "), Some("")));
        let off = Details::token(None::<&str>);
        assert!(off.problem().is_none() && !off.allow(&HeaderMap::new(), Some("")));
    }
}
