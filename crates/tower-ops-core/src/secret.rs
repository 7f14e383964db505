//! Bearer tokens, compared in constant time, and where they come from.

mod bearer;
mod watched_secret;

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

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

/// How long a builder waits for a file of tokens.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

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
    ///
    /// A link is followed. Building fails if the file is not a regular one (a named pipe, a
    /// directory), or if it cannot be read within 5 seconds.
    #[must_use]
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self {
            source: Source::File(path.into()),
        }
    }

    /// Returns the tokens. A file is read on a thread of its own: blocks for at most 5 seconds.
    ///
    /// # Errors
    ///
    /// In words what is wrong, to follow the name of the setting.
    pub fn read(&self) -> Result<Vec<TokenDigest>, String> {
        let Source::File(path) = &self.source else {
            return self.read_blocking();
        };
        let file = path.clone();
        let read_regular = move || {
            // Opening a named pipe would wait until somebody writes to it.
            if fs::metadata(&file).map_err(unreadable)?.is_file() {
                read(&file)
            } else {
                Err("is not a regular file".to_owned())
            }
        };
        read_within(READ_TIMEOUT, read_regular)
            .and_then(|read| read)
            .map_err(|problem| of_file(path, &problem))
    }

    /// Returns the tokens. Blocks for as long as the file system takes.
    fn read_blocking(&self) -> Result<Vec<TokenDigest>, String> {
        match &self.source {
            Source::Given(Ok(digest)) | Source::Environment(_, Ok(digest)) => Ok(vec![*digest]),
            Source::Given(Err(problem)) => Err((*problem).to_owned()),
            Source::Environment(variable, Err(problem)) => {
                Err(format!("the environment variable {variable} {problem}"))
            }
            Source::File(path) => read(path).map_err(|problem| of_file(path, &problem)),
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

fn of_file(path: &Path, problem: &str) -> String {
    format!("the file {} {problem}", path.display())
}

/// Calls `read` on a thread of its own, which is left behind if it has not ended in time.
fn read_within<T: Send + 'static>(
    limit: Duration,
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("token-file".to_owned())
        .spawn(move || sender.send(read()))
        .map_err(|error| format!("cannot be read: no thread for it: {error}"))?;
    receiver
        .recv_timeout(limit)
        .map_err(|_| format!("cannot be read: its file system has not answered within {limit:?}"))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable(error: std::io::Error) -> String {
    format!("cannot be read: {error}")
}

fn read(path: &Path) -> Result<Vec<TokenDigest>, String> {
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

    #[test]
    fn a_file_that_does_not_answer_is_given_up() {
        let (keep, never) = mpsc::channel::<()>();
        let read = read_within(Duration::from_millis(10), move || never.recv());
        let problem = read.unwrap_err();
        assert!(
            problem.contains("has not answered within 10ms"),
            "{problem}"
        );
        drop(keep);
        assert_eq!(read_within(READ_TIMEOUT, || 7), Ok(7));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_is_no_regular_one_is_refused_at_once() {
        let directory = std::env::temp_dir().join(format!("token-pipe-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (pipe, link) = (directory.join("pipe"), directory.join("link"));
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        for path in [&directory, &pipe, &link] {
            let problem = WatchedSecret::new(Secret::from_file(path)).unwrap_err();
            let expected = format!("the file {} is not a regular file", path.display());
            assert_eq!(problem, expected);
        }
        fs::write(directory.join("file"), "0123456789abcdef\n").unwrap();
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(directory.join("file"), &link).unwrap();
        assert_eq!(Secret::from_file(&link).read().unwrap().len(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }
}
