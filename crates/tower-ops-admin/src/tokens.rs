use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use tower_ops_core::secret::{Secret, TokenDigest, WatchedSecret};

use crate::access::{Access, Role};
use tower_ops_core::config::ConfigError;

/// Who may do what on the operations endpoint: the one place for its authorization.
///
/// Cheap to clone. None are set by default: then [`Access::Read`] is open and [`Access::Write`]
/// is closed.
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, header::AUTHORIZATION};
/// use tower_ops_admin::{Access, Role, Secret, Tokens};
///
/// let tokens = Tokens::builder()
///     .read(Secret::new("a-long-token-to-look"))
///     .write(Secret::new("a-long-token-to-change-things"))
///     .build()?;
///
/// let mut headers = HeaderMap::new();
/// assert!(!tokens.allow(&headers, Access::Read));
/// headers.insert(AUTHORIZATION, "Bearer a-long-token-to-look".parse().unwrap());
/// assert!(tokens.allow(&headers, Access::Read));
/// assert!(!tokens.allow(&headers, Access::Write));
/// assert_eq!(tokens.role(&headers), Some(Role::Read));
/// # Ok::<(), tower_ops_admin::ConfigError>(())
/// ```
#[derive(Clone, Default)]
pub struct Tokens {
    inner: Option<Arc<Inner>>,
}

struct Inner {
    read: Vec<WatchedSecret>,
    write: Vec<WatchedSecret>,
}

/// What somebody may not do, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// They did not show a token, or not the right one.
    Unknown,
    /// They showed a token that is not good for this.
    RoleTooLow,
    /// Nobody may: no token is set.
    Closed,
}

impl Tokens {
    /// None: reading is open, and writing is closed.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Begins with none.
    pub const fn builder() -> TokensBuilder {
        TokensBuilder {
            read: Vec::new(),
            write: Vec::new(),
        }
    }

    /// Whether somebody with these headers may do what needs that access.
    #[must_use]
    pub fn allow(&self, headers: &HeaderMap, access: Access) -> bool {
        self.check(headers, access).is_ok()
    }

    /// What the token in these headers is good for: `None` without one, or with a wrong one.
    /// For services that show more to those who have any.
    #[must_use]
    pub fn role(&self, headers: &HeaderMap) -> Option<Role> {
        let inner = self.inner.as_ref()?;
        let given = TokenDigest::from_headers(headers)?;
        // Both, whatever the first says: how long it takes does not depend on it.
        let may_write = Inner::has(&inner.write, &given);
        let may_read = Inner::has(&inner.read, &given);
        if may_write {
            Some(Role::Write)
        } else {
            may_read.then_some(Role::Read)
        }
    }

    /// Whether there is any token.
    #[must_use]
    pub const fn is_set(&self) -> bool {
        self.inner.is_some()
    }

    /// Whether there is a token with which one may write.
    #[must_use]
    pub fn can_write(&self) -> bool {
        self.inner.as_ref().is_some_and(|it| !it.write.is_empty())
    }

    /// Whether anybody may do what needs that access.
    pub(crate) fn is_open(&self, access: Access) -> bool {
        match access {
            Access::Public => true,
            Access::Own | Access::Write => false,
            Access::Read => self.inner.as_ref().is_none_or(|it| it.read.is_empty()),
        }
    }

    /// Whether there is a token that reading needs.
    #[must_use]
    pub fn must_read(&self) -> bool {
        self.inner.as_ref().is_some_and(|it| !it.read.is_empty())
    }

    pub(crate) fn check(&self, headers: &HeaderMap, access: Access) -> Result<(), Refusal> {
        let needs = match access {
            Access::Public | Access::Own => return Ok(()),
            Access::Read => match &self.inner {
                Some(inner) if !inner.read.is_empty() => Role::Read,
                _ => return Ok(()),
            },
            Access::Write if !self.can_write() => return Err(Refusal::Closed),
            Access::Write => Role::Write,
        };
        match self.role(headers) {
            None => Err(Refusal::Unknown),
            Some(role) if role < needs => Err(Refusal::RoleTooLow),
            Some(_) => Ok(()),
        }
    }
}

impl Inner {
    /// Compares with all of them, always.
    fn has(secrets: &[WatchedSecret], given: &TokenDigest) -> bool {
        let has = |found, secret: &WatchedSecret| found | secret.has(given);
        secrets.iter().fold(false, has)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.as_deref();
        f.debug_struct("Tokens")
            .field("read", &inner.map(|inner| &inner.read))
            .field("write", &inner.map(|inner| &inner.write))
            .finish()
    }
}

/// Sets [`Tokens`]. Made by [`Tokens::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until build is called"]
pub struct TokensBuilder {
    read: Vec<Secret>,
    write: Vec<Secret>,
}

impl TokensBuilder {
    /// Adds a token to look with. Reading needs one from then on. With the next token beside the
    /// current one, both open while they are changed.
    pub fn read(mut self, secret: Secret) -> Self {
        self.read.push(secret);
        self
    }

    /// Adds a token to change things with, and to look.
    pub fn write(mut self, secret: Secret) -> Self {
        self.write.push(secret);
        self
    }

    /// Reads them all.
    ///
    /// # Errors
    ///
    /// If one is missing or too short; the error lists every problem.
    pub fn build(self) -> Result<Tokens, ConfigError> {
        if self.read.is_empty() && self.write.is_empty() {
            return Ok(Tokens::none());
        }
        let mut problems = Vec::new();
        let mut all = |name: &str, secrets: Vec<Secret>| {
            let mut watched = Vec::new();
            for secret in secrets {
                match WatchedSecret::new(secret) {
                    Ok(secret) => watched.push(secret),
                    Err(problem) => problems.push(format!("{name} token: {problem}")),
                }
            }
            watched
        };
        let (read, write) = (all("read", self.read), all("write", self.write));
        ConfigError::check("the operations endpoint", problems)?;
        Ok(Tokens {
            inner: Some(Arc::new(Inner { read, write })),
        })
    }
}
