use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use tower_ops_answer::{SHORTEST_TOKEN as SHORTEST, TokenDigest};

/// Where a token comes from. At least 16 characters, without blanks around it.
#[derive(Clone)]
pub struct Secret {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Given(Option<TokenDigest>),
    Environment(String, Option<TokenDigest>),
    File(PathBuf),
}

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
        let token = std::env::var(variable).ok();
        let digest = token.as_deref().and_then(digest);
        Self {
            source: Source::Environment(variable.to_owned(), digest),
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

    /// The tokens, or in words what is wrong.
    pub(crate) fn read(&self) -> Result<Vec<TokenDigest>, String> {
        match &self.source {
            Source::Given(Some(digest)) | Source::Environment(_, Some(digest)) => Ok(vec![*digest]),
            Source::Given(None) => Err(format!(
                "has fewer than {SHORTEST} characters, which can be tried out"
            )),
            Source::Environment(variable, None) => Err(format!(
                "the environment variable {variable} is not set, or has fewer than {SHORTEST} \
                 characters"
            )),
            Source::File(path) => read(path).map_err(|problem| {
                let path = path.display();
                format!("the file {path} {problem}")
            }),
        }
    }

    pub(crate) const fn can_change(&self) -> bool {
        matches!(self.source, Source::File(_))
    }
}

/// Of a token, if it is long enough.
fn digest(token: &str) -> Option<TokenDigest> {
    (token.trim().len() >= SHORTEST).then(|| TokenDigest::of(token))
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
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let tokens: Option<Vec<_>> = lines.map(digest).collect();
    match tokens {
        None => Err(format!("has a token with fewer than {SHORTEST} characters")),
        Some(tokens) if tokens.is_empty() => Err("has no token".to_owned()),
        Some(tokens) if tokens.len() > MOST_TOKENS => {
            Err(format!("has more than {MOST_TOKENS} tokens"))
        }
        Some(tokens) => Ok(tokens),
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
