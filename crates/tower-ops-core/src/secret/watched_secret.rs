use std::fmt;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::{Secret, TokenDigest};
use crate::sync::Mutex;

/// How often a file of tokens is read at most.
const READ_EVERY: Duration = Duration::from_secs(10);

/// How long a request waits for a file of tokens to be read. A file system that hangs costs that
/// once, and not once a request.
const WAIT: Duration = Duration::from_millis(200);

/// The tokens of a [`Secret`], kept current: those of a file are read again, at most every 10 s,
/// when somebody shows a token.
///
/// Cheap to clone; clones share what was read. A file is read on a thread of its own. Who shows a
/// token meanwhile waits for that 0.2 s at most, once: while a file system hangs, the tokens stay
/// as they were, as they do if the file cannot be read.
///
/// # Examples
///
/// ```
/// use tower_ops_core::secret::{Secret, TokenDigest, WatchedSecret};
///
/// let secret = WatchedSecret::new(Secret::new("a-token-of-some-length"))?;
/// assert!(secret.has(&TokenDigest::of("a-token-of-some-length")));
/// assert!(!secret.has(&TokenDigest::of("another-token-of-some-length")));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone)]
pub struct WatchedSecret {
    shared: Arc<Shared>,
}

struct Shared {
    secret: Secret,
    /// Never held while a file is read.
    known: Mutex<Known>,
}

struct Known {
    tokens: Arc<[TokenDigest]>,
    /// When the last reading began.
    read_at: Instant,
    is_reading: bool,
    /// Whether the last reading failed, which is logged once.
    has_failed: bool,
}

impl WatchedSecret {
    /// Reads the tokens. Blocks for at most 5 seconds, if they are in a file.
    ///
    /// # Errors
    ///
    /// In words what is wrong, to follow the name of the setting.
    pub fn new(secret: Secret) -> Result<Self, String> {
        let known = Known {
            tokens: secret.read()?.into(),
            read_at: Instant::now(),
            is_reading: false,
            has_failed: false,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                secret,
                known: Mutex::new(known),
            }),
        })
    }

    /// Whether it is one of the tokens. Compares with all of them, always.
    #[must_use]
    pub fn has(&self, given: &TokenDigest) -> bool {
        if self.shared.secret.can_change() {
            self.refresh();
        }
        let tokens = Arc::clone(&self.shared.known.lock().tokens);
        given.is_one_of(&tokens)
    }

    fn refresh(&self) {
        let mut known = self.shared.known.lock();
        if known.is_reading || known.read_at.elapsed() < READ_EVERY {
            return;
        }
        known.is_reading = true;
        known.read_at = Instant::now();
        drop(known);
        let (done, finished) = mpsc::channel::<()>();
        let shared = Arc::clone(&self.shared);
        let reads = thread::Builder::new().name("token-file".to_owned());
        let reads = reads.spawn(move || {
            let read = shared.secret.read_blocking();
            shared.keep(read);
            drop(done);
        });
        match reads {
            Ok(_) => {
                // Ends with an error either way: nothing is sent.
                let _ = finished.recv_timeout(WAIT);
            }
            Err(error) => self.shared.keep(Err(format!("needs a thread: {error}"))),
        }
    }
}

impl Shared {
    fn keep(&self, read: Result<Vec<TokenDigest>, String>) {
        let mut known = self.known.lock();
        known.is_reading = false;
        let problem = match read {
            Ok(tokens) => {
                known.tokens = tokens.into();
                known.has_failed = false;
                return;
            }
            Err(problem) => problem,
        };
        let is_known = std::mem::replace(&mut known.has_failed, true);
        drop(known);
        if !is_known {
            tracing::warn!(problem, "the tokens stay as they were");
        }
    }
}

impl fmt::Debug for WatchedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shared.secret, f)
    }
}
