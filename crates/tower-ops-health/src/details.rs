use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use tower_ops_answer::TokenDigest;

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
        Self::If(Allowed(Arc::new(allowed)))
    }

    /// For holders of `token`; `None` says explicitly that there is no token, and so nobody
    /// sees details.
    ///
    /// An empty token is refused when the [`Health`](crate::Health) is built.
    #[must_use]
    pub fn token<T: AsRef<str>>(token: Option<T>) -> Self {
        token.map_or(Self::Never, |token| Self::Token(Token::new(token.as_ref())))
    }

    /// For holders of the token in the environment variable `name`. Building the
    /// [`Health`](crate::Health) fails if it is not set, or empty: nothing opens up, and
    /// nothing is locked, because somebody forgot it.
    #[must_use]
    pub fn token_from_env(name: &str) -> Self {
        Self::Token(match std::env::var(name) {
            Ok(token) => Token {
                source: Some(name.to_owned()),
                ..Token::new(&token)
            },
            Err(_) => Token {
                source: Some(name.to_owned()),
                digest: None,
            },
        })
    }

    pub(crate) fn problem(&self) -> Option<String> {
        let Self::Token(token) = self else {
            return None;
        };
        if token.digest.is_some() {
            return None;
        }
        let what = match &token.source {
            Some(variable) => format!("the environment variable {variable:?} is not set, or empty"),
            None => "the token is empty".to_owned(),
        };
        Some(format!(
            "details: a token is required, and {what}; Details::Never does without one"
        ))
    }

    /// Whether details may be shown to who sent this.
    pub(crate) fn allow(&self, headers: &HeaderMap, auth: Option<&str>) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::If(Allowed(allowed)) => allowed(headers),
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
pub struct Allowed(Arc<dyn Fn(&HeaderMap) -> bool + Send + Sync>);

impl fmt::Debug for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allowed").finish_non_exhaustive()
    }
}

/// A token, of which only a hash is kept.
#[derive(Clone)]
pub struct Token {
    source: Option<String>,
    /// `None` if the token is empty or missing, which no `Health` is built with.
    digest: Option<TokenDigest>,
}

impl Token {
    /// A token.
    #[must_use]
    pub fn new(token: &str) -> Self {
        let token = token.trim();
        Self {
            source: None,
            digest: (!token.is_empty()).then(|| TokenDigest::of(token)),
        }
    }

    fn is(&self, given: &TokenDigest) -> bool {
        self.digest.is_some_and(|digest| digest.is(given))
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
        let details = Details::token(Some("s3cret"));
        let none = HeaderMap::new();
        assert!(details.allow(&bearer("Bearer s3cret"), None));
        assert!(details.allow(&bearer("bearer  s3cret"), None));
        assert!(details.allow(&none, Some("s3cret")));
        assert!(details.allow(&bearer("Bearer wrong"), Some("s3cret")));
        for wrong in [
            "Bearer s3cre",
            "Bearer s3cret2",
            "Bearer ",
            "Basic s3cret",
            "s3cret",
        ] {
            assert!(!details.allow(&bearer(wrong), None), "{wrong}");
        }
        assert!(!details.allow(&none, None));
        assert!(!details.allow(&none, Some("")));
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
