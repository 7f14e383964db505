use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;
use tower_ops_answer::{Secret, TokenDigest};

use crate::access::{Access, Role};
use tower_ops_config::ConfigError;

/// How often a file of tokens is looked at.
const READ_EVERY: Duration = Duration::from_secs(10);

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
    read: Vec<Secret>,
    write: Vec<Secret>,
    can_change: bool,
    /// Held for a few comparisons, or for reading a small file: the endpoint has one thread.
    known: Mutex<Known>,
}

struct Known {
    read: Vec<TokenDigest>,
    write: Vec<TokenDigest>,
    at: Instant,
    told: bool,
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
        let known = inner.known();
        // Both, whatever the first says: how long it takes tells nothing.
        let (may_write, may_read) = (given.is_one_of(&known.write), given.is_one_of(&known.read));
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
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if self.can_change && known.at.elapsed() >= READ_EVERY {
            known.at = Instant::now();
            match (read(&self.read), read(&self.write)) {
                (Ok(read), Ok(write)) => {
                    (known.read, known.write, known.told) = (read, write, false);
                }
                (Err(problem), _) | (_, Err(problem)) if !known.told => {
                    known.told = true;
                    tracing::warn!(problem, "the tokens stay as they were");
                }
                _ => {}
            }
        }
        known
    }
}

fn read(secrets: &[Secret]) -> Result<Vec<TokenDigest>, String> {
    let read: Result<Vec<_>, _> = secrets.iter().map(Secret::read).collect();
    Ok(read?.concat())
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
        let mut all = |name: &str, secrets: &[Secret]| {
            let mut digests = Vec::new();
            for secret in secrets {
                match secret.read() {
                    Ok(read) => digests.extend(read),
                    Err(problem) => problems.push(format!("{name} token: {problem}")),
                }
            }
            digests
        };
        let (read, write) = (all("read", &self.read), all("write", &self.write));
        ConfigError::check("the operations endpoint", problems)?;
        let mut secrets = self.read.iter().chain(&self.write);
        let can_change = secrets.any(Secret::can_change);
        let known = Mutex::new(Known {
            read,
            write,
            at: Instant::now(),
            told: false,
        });
        Ok(Tokens {
            inner: Some(Arc::new(Inner {
                read: self.read,
                write: self.write,
                can_change,
                known,
            })),
        })
    }
}
