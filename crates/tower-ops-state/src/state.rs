use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tower_ops_core::panic;
use tower_ops_core::recorder::RecorderHandle;
use tower_ops_core::secret::WatchedSecret;

use crate::audit::{AuditEntry, Operation};
use crate::builder::StateBuilder;
use crate::capture::Capture;
use crate::envelope::{Received, SigningKey};
use crate::error::{ErrorKind, StateError, StateResult};
use crate::fence::Fence;
use crate::http::StateService;
use crate::participant::ErasedParticipant;
use crate::restore::{Restore, Restored};

/// The state of a service: captured, restored, handed over. Cheap to clone; all clones are the
/// same state.
///
/// # Panics
///
/// All `async` methods panic outside of a tokio runtime with a clock.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) inner: Arc<StateInner>,
}

impl State {
    /// Begins to configure the state of an application. An envelope can only be restored by the
    /// application of the same name.
    #[must_use]
    pub fn builder(application: impl Into<String>, version: impl Into<String>) -> StateBuilder {
        StateBuilder::new(application.into(), version.into())
    }

    /// Makes the service for `/state`: GET captures, HEAD measures, POST restores.
    #[must_use]
    pub fn service(&self) -> StateService {
        StateService::new(Arc::clone(&self.inner))
    }

    /// Returns the generation of the state: 0 for an instance that was not restored. A hand-over
    /// gives the next generation to the other instance.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.inner.fence.generation()
    }

    /// Returns the fence, which keeps writes out once the state was handed over.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.inner.fence.clone()
    }

    /// Captures all participants, one after another.
    ///
    /// # Errors
    ///
    /// If another capture or restore is running, if a participant refuses, if it takes too long or
    /// is too large, or if there is no participant.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time. There is no other capture until a participant that blocks its
    /// thread returns.
    pub async fn capture(&self) -> Result<Capture, StateError> {
        let entry = self.audit(Operation::CAPTURE);
        let capture = async {
            let permit = self.inner.permit()?;
            let capture = self.inner.capture(permit, false).await?.capture;
            entry.set_contents(capture.size(), capture.digest());
            Ok(capture)
        };
        entry.watch(capture).await
    }

    /// Restores all participants of an envelope, or none.
    ///
    /// # Errors
    ///
    /// If another capture or restore is running; if the envelope is broken, too large, of another
    /// application or of an older generation; if a participant refuses; if
    /// [`restore_when`](StateBuilder::restore_when) does not allow it; if it takes too long.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time. Before the first participant commits, nothing has changed; after
    /// it the restore goes on to its end in the background.
    pub async fn restore(
        &self,
        envelope: impl Into<Bytes>,
        how: Restore,
    ) -> Result<Restored, StateError> {
        let envelope = envelope.into();
        let entry = self.audit(how.operation());
        let restore = async {
            let limit = self.inner.settings.max_size;
            if envelope.len() > limit {
                return Err(StateError::too_large(limit));
            }
            self.inner.check_time(how)?;
            let permit = self.inner.permit()?;
            self.inner.check_restore(how)?;
            let deadline = Instant::now() + self.inner.settings.restore_timeout;
            let received = Received {
                envelope: envelope.into(),
                is_gzip: false,
            };
            let restoring = self.inner.restore(permit, received, how, deadline, &entry);
            restoring.await
        };
        entry.watch(restore).await
    }

    /// Writes the state into the [file](StateBuilder::file), at shutdown or periodically. At every
    /// moment the file has the old state or the new one. Waits for another capture or restore, for
    /// at most the [`capture_timeout`](StateBuilder::capture_timeout).
    ///
    /// # Errors
    ///
    /// If no file is configured; as [`capture`](Self::capture); if the state was handed over, or
    /// the file has a newer generation, and so belongs to another instance; or if it cannot be
    /// written.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time. A write that has begun goes on in the background.
    pub async fn save_file(&self) -> Result<(), StateError> {
        let entry = self.audit(Operation::SAVE_FILE);
        entry.watch(self.inner.save_file(&entry)).await
    }

    /// Restores the state in the [file](StateBuilder::file), at start. Returns `None` if there is
    /// no file.
    ///
    /// # Errors
    ///
    /// If no file is configured; as [`restore`](Self::restore); if it cannot be read. A file that
    /// is torn, of another application, too large or refused is renamed to
    /// `<name>.rejected-<time>`, so that it is neither lost nor in the way. The error has the new
    /// name.
    ///
    /// # Cancel safety
    ///
    /// As [`restore`](Self::restore).
    pub async fn restore_file(&self) -> Result<Option<Restored>, StateError> {
        let entry = self.audit(Operation::RESTORE_FILE);
        entry.watch(self.inner.restore_file(&entry)).await
    }

    /// Returns the path of the [file](StateBuilder::file), if one is configured.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        self.inner.settings.file.clone()
    }

    fn audit(&self, operation: Operation) -> AuditEntry {
        AuditEntry::new(&self.inner.settings.recorder, operation, "process", None)
    }
}

pub(crate) type Condition = Box<dyn Fn() -> bool + Send + Sync>;
pub(crate) type Callback = Box<dyn Fn() + Send + Sync>;

/// The right to capture or restore, which one operation has at a time.
pub(crate) type Permit = OwnedSemaphorePermit;

/// The names of the tokens of clients, and the tokens.
pub(crate) type Tokens = Vec<(&'static str, WatchedSecret)>;

/// What all handles of one state share.
pub(crate) struct StateInner {
    pub(crate) settings: Settings,
    pub(crate) instance: String,
    pub(crate) tokens: Tokens,
    pub(crate) signing_key: Option<SigningKey>,
    pub(crate) fence: Fence,
    pub(crate) permits: Arc<Semaphore>,
}

/// Without the tokens and the key.
impl fmt::Debug for StateInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateInner")
            .field("application", &self.settings.application)
            .field("fence", &self.fence)
            .finish_non_exhaustive()
    }
}

/// What is configured. [`StateBuilder`] documents it.
pub(crate) struct Settings {
    pub(crate) application: String,
    pub(crate) version: String,
    pub(crate) participants: Vec<Box<dyn ErasedParticipant>>,
    pub(crate) token_variable: String,
    pub(crate) restore_when: Option<Condition>,
    pub(crate) on_restored: Vec<Callback>,
    pub(crate) on_inconsistent: Vec<Callback>,
    pub(crate) allow_missing: bool,
    pub(crate) allow_unknown: bool,
    pub(crate) max_size: usize,
    pub(crate) capture_timeout: Duration,
    pub(crate) restore_timeout: Duration,
    pub(crate) idle_body_timeout: Duration,
    pub(crate) file: Option<PathBuf>,
    pub(crate) recorder: RecorderHandle,
}

impl StateInner {
    /// Fails at once if another operation has the permit.
    pub(crate) fn permit(&self) -> StateResult<Permit> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        permit.map_err(|_| StateError::busy())
    }

    pub(crate) fn check_generation(&self, expected: Option<u64>) -> StateResult<()> {
        let generation = self.fence.generation();
        if expected.is_none_or(|expected| expected == generation) {
            return Ok(());
        }
        let text = format!("the generation here is {generation}");
        Err(ErrorKind::Generation.error(text))
    }

    pub(crate) fn check_participants(&self) -> StateResult<()> {
        let text = "no participant is registered: there is nothing to capture or restore";
        let is_any = !self.settings.participants.is_empty();
        is_any
            .then_some(())
            .ok_or_else(|| ErrorKind::Unavailable.error(text))
    }

    /// Checks what a restore needs before the body is read.
    pub(crate) fn check_restore(&self, how: Restore) -> StateResult<()> {
        self.check_participants()?;
        self.check_generation(how.expected_generation)
    }

    /// Checks that `restore_when` allows a restore at this moment, or is not set.
    pub(crate) fn check_time(&self, how: Restore) -> StateResult<()> {
        // A condition that panics does not allow it.
        let allows = |allows: &Condition| panic::catch(allows).unwrap_or(false);
        if how.dry_run || how.force || self.settings.restore_when.as_ref().is_none_or(allows) {
            return Ok(());
        }
        Err(ErrorKind::NotNow.error(
            "this instance serves: restore before it is ready or while it is drained, or by force",
        ))
    }
}

/// Calls what is notified of a result, which a panic cannot undo.
pub(crate) fn call_all(callbacks: &[Callback]) {
    for callback in callbacks {
        let _ = panic::catch(callback);
    }
}

/// Runs what may block on a thread of its own: the code of the application, and file systems.
///
/// It does not use the blocking pool. A runtime waits for that pool when it ends, and with it the
/// process would wait for however long a getter or a file system hangs.
pub(crate) fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> StateResult<T> + Send + 'static,
) -> StateResult<impl Future<Output = StateResult<T>> + Send> {
    let (sender, receiver) = oneshot::channel();
    let runtime = Handle::current();
    let thread = thread::Builder::new().name("state".into());
    let spawned = thread.spawn(move || {
        let _entered = runtime.enter();
        // The caller may be gone.
        let _ = sender.send(work());
    });
    spawned.map_err(StateError::internal)?;
    Ok(async { receiver.await.map_err(StateError::internal)? })
}
