use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use tower_ops_core::config::ConfigError;
use tower_ops_core::secret::{Secret, TokenDigest, WatchedSecret};

/// What a request to a mount needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Access {
    /// Nothing: probes. Where the endpoint is on the application's port, what changes something
    /// needs a token for writing all the same.
    Public,
    /// A token that the service checks itself.
    Own,
    /// A token for reading, if one is set. The default.
    #[default]
    Read,
    /// A token for writing. Closed for everybody if none is set.
    Write,
}

/// What a token permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Reading.
    Read,
    /// Changing something, and reading.
    Write,
}

/// Authorizes requests to the operations endpoint. Cheap to clone.
///
/// No tokens are set by default: [`Access::Read`] is open then, and [`Access::Write`] is closed.
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, header::AUTHORIZATION};
/// use tower_ops_admin::{Access, Role, Tokens};
///
/// let tokens = Tokens::builder()
///     .read("a-long-token-to-look")
///     .write("a-long-token-to-change-things")
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

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It has no token, or an unknown one.
    Unknown,
    /// Its token is for reading only.
    RoleTooLow,
    /// No token is set with which anybody could.
    Closed,
}

impl Tokens {
    /// Returns no tokens: reading is open, and writing is closed.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Returns a builder without tokens.
    pub const fn builder() -> TokensBuilder {
        TokensBuilder {
            read: Vec::new(),
            write: Vec::new(),
        }
    }

    /// Returns whether a request with these headers may do what needs that access.
    #[must_use]
    pub fn allow(&self, headers: &HeaderMap, access: Access) -> bool {
        self.authorize(headers, access).is_ok()
    }

    /// Returns what the token in these headers permits; `None` without one, or with an unknown one.
    /// For services that show more to callers with a token.
    #[must_use]
    pub fn role(&self, headers: &HeaderMap) -> Option<Role> {
        let inner = self.inner.as_ref()?;
        let given = TokenDigest::from_headers(headers)?;
        // Both are always compared: the time that it takes does not depend on the token.
        let may_write = Inner::has(&inner.write, &given);
        let may_read = Inner::has(&inner.read, &given);
        if may_write {
            Some(Role::Write)
        } else {
            may_read.then_some(Role::Read)
        }
    }

    /// Returns whether any token is set.
    #[must_use]
    pub const fn is_set(&self) -> bool {
        self.inner.is_some()
    }

    /// Returns whether a token for writing is set.
    #[must_use]
    pub fn can_write(&self) -> bool {
        self.inner.as_ref().is_some_and(|it| !it.write.is_empty())
    }

    /// Returns whether everybody may do what needs that access.
    pub(crate) fn is_open(&self, access: Access) -> bool {
        match access {
            Access::Public => true,
            Access::Own | Access::Write => false,
            Access::Read => self.inner.as_ref().is_none_or(|it| it.read.is_empty()),
        }
    }

    /// Returns whether reading needs a token.
    #[must_use]
    pub fn must_read(&self) -> bool {
        self.inner.as_ref().is_some_and(|it| !it.read.is_empty())
    }

    pub(crate) fn authorize(&self, headers: &HeaderMap, access: Access) -> Result<(), Refusal> {
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

/// Configures [`Tokens`]. Made by [`Tokens::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until build is called"]
pub struct TokensBuilder {
    read: Vec<Secret>,
    write: Vec<Secret>,
}

impl TokensBuilder {
    /// Adds a token for reading: a string, or a [`Secret`] from elsewhere. Reading needs one from
    /// then on. Add the current and the next one to change them without a gap.
    pub fn read(mut self, token: impl Into<Secret>) -> Self {
        self.read.push(token.into());
        self
    }

    /// Adds a token for writing, which is also one for reading: a string, or a [`Secret`] from
    /// elsewhere.
    pub fn write(mut self, token: impl Into<Secret>) -> Self {
        self.write.push(token.into());
        self
    }

    /// Checks whether this can be built. Reads the tokens, from wherever they come.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.parse().map(drop)
    }

    /// Reads all tokens. Blocks while a file is read, for at most 5 s each.
    ///
    /// # Errors
    ///
    /// If a token is missing, too short or cannot be read. The error lists every problem.
    pub fn build(self) -> Result<Tokens, ConfigError> {
        self.parse()
    }

    fn parse(&self) -> Result<Tokens, ConfigError> {
        if self.read.is_empty() && self.write.is_empty() {
            return Ok(Tokens::none());
        }
        let mut problems = Vec::new();
        let mut all = |name: &str, secrets: &[Secret]| {
            let mut watched = Vec::new();
            for secret in secrets {
                match WatchedSecret::new(secret.clone()) {
                    Ok(secret) => watched.push(secret),
                    Err(problem) => problems.push(format!("{name} token: {problem}")),
                }
            }
            watched
        };
        let (read, write) = (all("read", &self.read), all("write", &self.write));
        ConfigError::from_problems("the operations endpoint", problems)?;
        Ok(Tokens {
            inner: Some(Arc::new(Inner { read, write })),
        })
    }
}
