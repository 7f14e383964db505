use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use tower_ops_core::secret::{Secret, TokenDigest, WatchedSecret};

/// Who sees more than a status: names of checks, errors, numbers, times.
///
/// Whoever asks and may not see them gets the status all the same, and never 401: a
/// prober that is turned away restarts healthy processes.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Details {
    /// Nobody. The default.
    #[default]
    Never,
    /// Everybody who can reach the endpoint.
    Always,
    /// Who has the token, as `authorization: Bearer …` or as the query's `auth=…`.
    ///
    /// The query's form ends up in the logs of whatever stands in between: prefer the header.
    Token(Token),
    /// Whom this says, by the headers of their request. For a process that has one place for
    /// its tokens.
    If(Allowed),
}

impl Details {
    /// For those whose headers `allowed` accepts. It is asked with each request, and must
    /// neither block nor panic.
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

    /// For holders of `token`; `None` says explicitly that there is no token, and so nobody
    /// sees details. The names of checks, and how each is, are details as well then.
    ///
    /// What is no token is refused when the [`Health`](crate::Health) is built: it has at least 16
    /// characters, all of them visible ASCII.
    #[must_use]
    pub fn token<T: AsRef<str>>(token: Option<T>) -> Self {
        token.map_or(Self::Never, |token| Self::Token(Token::new(token.as_ref())))
    }

    /// For holders of the token in the environment variable `name`. Building the
    /// [`Health`](crate::Health) fails if it is not set, or empty: nothing opens up, and
    /// nothing is locked, because somebody forgot it.
    #[must_use]
    pub fn token_from_env(name: &str) -> Self {
        Self::secret(&Secret::from_env(name))
    }

    /// For holders of a token from wherever it comes, as [`token`](Self::token) is. A file is read
    /// now, and again as [`Secret::from_file`] says.
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
            "details: the token: {problem}; Details::Never does without one"
        ))
    }

    /// Whether the names of checks, and how each is, are for those who may see details alone.
    pub(crate) const fn hides_names(&self) -> bool {
        match self {
            Self::Never | Self::Always => false,
            Self::Token(_) => true,
            Self::If(allowed) => allowed.hides_names,
        }
    }

    /// Has everybody know the names of checks, and how each is, where
    /// [`allowed_if`](Self::allowed_if) decides about the rest.
    #[must_use]
    pub fn with_public_names(mut self) -> Self {
        if let Self::If(allowed) = &mut self {
            allowed.hides_names = false;
        }
        self
    }

    /// Whether details may be shown to who sent this.
    pub(crate) fn allow(&self, headers: &HeaderMap, auth: Option<&str>) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::If(Allowed { allowed, .. }) => allowed(headers),
            Self::Token(token) => {
                // Both are looked at, so that a wrong header does not shadow a right query.
                let is = |given: Option<TokenDigest>| given.is_some_and(|given| token.is(&given));
                is(TokenDigest::from_headers(headers)) | is(auth.map(TokenDigest::of))
            }
        }
    }

    pub(crate) const fn asks_for_token(&self) -> bool {
        matches!(self, Self::Token(_) | Self::If(_))
    }
}

/// Who is [allowed](Details::allowed_if) to see details.
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

/// A token, of which only a hash is kept.
#[derive(Clone)]
pub struct Token {
    /// Or what is wrong, and no `Health` is built with it.
    secret: Result<WatchedSecret, String>,
}

impl Token {
    /// A token.
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
