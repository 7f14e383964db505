//! Bearer tokens, compared in constant time, and where they come from.

mod bearer;
mod watched_secret;

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

pub use self::bearer::{SHORTEST_TOKEN, TokenDigest, token_problem};
pub use self::watched_secret::WatchedSecret;

/// A bearer token, and where it comes from: the one type for all secrets of the operations
/// endpoint, of health and of state.
///
/// A token has at least 16 characters, all of them visible ASCII: what a client can send as
/// `authorization: Bearer …`. Blanks and line ends around it are not part of it. Only a digest is
/// kept.
#[derive(Clone)]
pub struct Secret {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Given(Read),
    Environment(String, Read),
    File(PathBuf),
}

type Read = Result<TokenDigest, &'static str>;

/// A file of tokens is small; what is larger is another file.
const MOST_BYTES: u64 = 4 * 1024;

/// While tokens are changed there are two; more are a mistake.
const MOST_TOKENS: usize = 4;

impl Secret {
    /// The token itself.
    #[must_use]
    pub fn new(token: impl AsRef<str>) -> Self {
        Self {
            source: Source::Given(digest(token.as_ref())),
        }
    }

    /// The token in this environment variable, read now. Building fails if it is not set: nothing
    /// opens up, and nothing is locked, because somebody forgot it.
    #[must_use]
    pub fn from_env(variable: &str) -> Self {
        let read = match std::env::var_os(variable) {
            None => Err("is not set"),
            Some(token) => token.to_str().map_or(Err("is not valid Unicode"), digest),
        };
        Self {
            source: Source::Environment(variable.to_owned(), read),
        }
    }

    /// The tokens in this file, one on each line: the current and the next one while they are
    /// changed. Read when it is built, and again, at most every 10 s, when somebody shows a token:
    /// a secret that Kubernetes mounts can be changed while the process runs. If the file cannot
    /// be read then, the tokens stay as they were.
    #[must_use]
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self {
            source: Source::File(path.into()),
        }
    }

    /// The tokens.
    ///
    /// # Errors
    ///
    /// In words what is wrong, to follow the name of the setting.
    pub fn read(&self) -> Result<Vec<TokenDigest>, String> {
        match &self.source {
            Source::Given(Ok(digest)) | Source::Environment(_, Ok(digest)) => Ok(vec![*digest]),
            Source::Given(Err(problem)) => Err((*problem).to_owned()),
            Source::Environment(variable, Err(problem)) => {
                Err(format!("the environment variable {variable} {problem}"))
            }
            Source::File(path) => read(path).map_err(|problem| {
                let path = path.display();
                format!("the file {path} {problem}")
            }),
        }
    }

    /// Whether it may be another one later.
    #[must_use]
    pub const fn can_change(&self) -> bool {
        matches!(self.source, Source::File(_))
    }
}

impl From<&str> for Secret {
    fn from(token: &str) -> Self {
        Self::new(token)
    }
}

impl From<&String> for Secret {
    fn from(token: &String) -> Self {
        Self::new(token)
    }
}

impl From<String> for Secret {
    fn from(token: String) -> Self {
        Self::new(token)
    }
}

/// Of a token, if it is one.
fn digest(token: &str) -> Read {
    token_problem(token).map_or_else(|| Ok(TokenDigest::of(token)), Err)
}

fn read(path: &Path) -> Result<Vec<TokenDigest>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let mut text = String::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    let mut file = file.take(MOST_BYTES + 1);
    file.read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(format!("has more than {MOST_BYTES} bytes"));
    }
    let text = text.trim_start_matches('\u{feff}');
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let tokens: Result<Vec<_>, _> = lines.map(digest).collect();
    match tokens {
        Err(problem) => Err(format!("has a token that {problem}")),
        Ok(tokens) if tokens.is_empty() => Err("has no token".to_owned()),
        Ok(tokens) if tokens.len() > MOST_TOKENS => {
            Err(format!("has more than {MOST_TOKENS} tokens"))
        }
        Ok(tokens) => Ok(tokens),
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Given(_) => f.write_str("Secret"),
            Source::Environment(variable, _) => write!(f, "Secret(from {variable})"),
            Source::File(path) => write!(f, "Secret(from {})", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_client_can_send_is_no_token() {
        let problem = |token: &str| Secret::new(token).read().map(drop).unwrap_err();
        for token in [
            "пароль-пароль-пароль",
            "sixteen or more, with blanks",
            "0123456789abcde\u{7f}",
            "0123456789abcdef\n0123456789abcdef",
            "0123456789\tabcdef",
            "ключ",
        ] {
            assert!(problem(token).contains("visible ASCII"), "{token}");
        }
        for token in ["", "  ", "0123456789abcde", "  0123456789abcde   "] {
            assert!(problem(token).contains("shorter than 16"), "{token}");
        }
        for token in [
            "0123456789abcdef",
            " 0123456789abcdef\r\n",
            "!#$%&'*+-.^_`|~=/",
        ] {
            assert_eq!(Secret::new(token).read().unwrap().len(), 1, "{token}");
        }
    }
}
