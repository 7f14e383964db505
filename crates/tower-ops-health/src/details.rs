use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use tower_ops_core::secret::{Secret, TokenDigest, WatchedSecret};

/// Who may see more than a status: names of checks, errors, numbers, times.
///
/// All others get the status, and never 401: a prober that is refused restarts healthy processes.
///
/// # Examples
///
/// ```
/// use tower_ops_health::{Details, Health};
///
/// let health = Health::builder()
///     .details(Details::token("a-token-of-16-or-more"))
///     .build()?;
/// # Ok::<(), tower_ops_health::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Details {
    allowed: Allowed,
    /// The names of checks, and the status of each, are details too.
    hides_names: bool,
}

#[derive(Clone)]
enum Allowed {
    Nobody,
    Everybody,
    /// Holders of a token, or the token's problem, with which no `Health` is built.
    Token(Result<WatchedSecret, String>),
    If(Arc<dyn Fn(&HeaderMap) -> bool + Send + Sync>),
}

impl Details {
    /// Allows nobody. The default.
    #[must_use]
    pub const fn never() -> Self {
        Self {
            allowed: Allowed::Nobody,
            hides_names: false,
        }
    }

    /// Allows everybody who can reach the service.
    #[must_use]
    pub const fn always() -> Self {
        Self {
            allowed: Allowed::Everybody,
            hides_names: false,
        }
    }

    /// Allows those whose headers `allowed` accepts: for a process with one place for its tokens. It
    /// is called for each request, and must neither block nor panic.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_ops_health::Details;
    ///
    /// let details = Details::allowed_if(|headers| headers.contains_key("x-inside"));
    /// # let _ = details;
    /// ```
    #[must_use]
    pub fn allowed_if(allowed: impl Fn(&HeaderMap) -> bool + Send + Sync + 'static) -> Self {
        Self {
            allowed: Allowed::If(Arc::new(allowed)),
            hides_names: true,
        }
    }

    /// Allows holders of `token`, as `authorization: Bearer …` or as `auth=…` in the query: a
    /// string, or a [`Secret`] from the environment or from a file. With a token the names of
    /// checks, and the status of each, are details too. Proxies write queries to their logs: prefer
    /// the header.
    ///
    /// A token has at least 16 characters, all of them visible ASCII. Building the
    /// [`Health`](crate::Health) fails with any other, and with one that cannot be read. Reads a
    /// file now, and again as described at [`Secret::from_file`].
    ///
    /// # Examples
    ///
    /// A token that may be missing:
    ///
    /// ```
    /// use tower_ops_health::Details;
    ///
    /// let token = std::env::var("HEALTH_TOKEN").ok();
    /// let details = token.map_or_else(Details::never, Details::token);
    /// # let _ = details;
    /// ```
    #[must_use]
    pub fn token(token: impl Into<Secret>) -> Self {
        Self {
            allowed: Allowed::Token(WatchedSecret::new(token.into())),
            hides_names: true,
        }
    }

    /// Makes the names of checks, and the status of each, public, where
    /// [`allowed_if`](Self::allowed_if) decides about the rest.
    #[must_use]
    pub fn with_public_names(mut self) -> Self {
        self.hides_names &= !matches!(self.allowed, Allowed::If(_));
        self
    }

    pub(crate) fn problem(&self) -> Option<String> {
        match &self.allowed {
            Allowed::Token(Err(problem)) => Some(format!(
                "details: the token: {problem}; Details::never() needs none"
            )),
            _ => None,
        }
    }

    pub(crate) const fn hides_names(&self) -> bool {
        self.hides_names
    }

    /// Returns whether the sender of a request may see details.
    pub(crate) fn allow(&self, headers: &HeaderMap, auth: Option<&str>) -> bool {
        match &self.allowed {
            Allowed::Nobody | Allowed::Token(Err(_)) => false,
            Allowed::Everybody => true,
            Allowed::If(allowed) => allowed(headers),
            Allowed::Token(Ok(secret)) => {
                // Both are compared: a wrong header does not shadow a right query.
                let is = |given: Option<TokenDigest>| given.is_some_and(|given| secret.has(&given));
                is(TokenDigest::from_headers(headers)) | is(auth.map(TokenDigest::of))
            }
        }
    }

    pub(crate) const fn asks_for_token(&self) -> bool {
        matches!(self.allowed, Allowed::Token(_) | Allowed::If(_))
    }
}

impl Default for Details {
    fn default() -> Self {
        Self::never()
    }
}

impl fmt::Debug for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Everybody => "Everybody",
            Self::Token(_) => "Token",
            Self::If(_) => "If",
        })
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
        let details = Details::token("0123456789s3cret");
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
        let details = Details::token(Secret::from_file(&path));
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
        assert!(Details::token(" ").problem().is_some());
        assert!(!Details::token(" ").allow(&HeaderMap::new(), Some("")));
        let unset = Details::token(Secret::from_env("TOWER_OPS_HEALTH_NEVER_SET"));
        assert!(
            unset
                .problem()
                .unwrap()
                .contains("TOWER_OPS_HEALTH_NEVER_SET")
        );
        assert!(!unset.allow(&bearer("Bearer "), Some("")));
        let off = Details::never();
        assert!(off.problem().is_none() && !off.allow(&HeaderMap::new(), Some("")));
    }
}
