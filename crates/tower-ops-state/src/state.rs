use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::builder::StateBuilder;
use crate::capture::Capture;
use crate::error::StateError;
use crate::fence::Fence;
use crate::file;
use crate::record::{Operation, Record, Who};
use crate::restore::{Restore, Restored};
use crate::segments::Segments;
use crate::service::StateService;
use crate::shared::Shared;

/// The state of a service: captured, restored, handed over. Cheap to clone; all clones
/// are the same.
///
/// # Examples
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use tower_ops_state::{Restore, State};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let orders = Arc::new(Mutex::new(vec![17_u32]));
/// let (get, set) = (orders.clone(), orders.clone());
/// let state = State::builder("orders", env!("CARGO_PKG_VERSION"))
///     .single(move || get.lock().unwrap().clone(), move |orders: Vec<u32>| {
///         *set.lock().unwrap() = orders;
///         Ok(())
///     })
///     .build()?;
///
/// let mut envelope = Vec::new();
/// state.capture().await?.write_to(&mut envelope)?;
/// orders.lock().unwrap().clear();
/// state.restore(envelope, Restore::new()).await?;
/// assert_eq!(*orders.lock().unwrap(), [17]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct State {
    pub(crate) shared: Arc<Shared>,
}

impl State {
    /// Begins to configure the state of an application. An envelope is only taken by
    /// the application of the same name.
    #[must_use]
    pub fn builder(application: impl Into<String>, version: impl Into<String>) -> StateBuilder {
        StateBuilder::new(application.into(), version.into())
    }

    /// The service for `/state`: GET captures, HEAD measures, POST restores.
    #[must_use]
    pub fn service(&self) -> StateService {
        StateService::new(Arc::clone(&self.shared))
    }

    /// How often the state was handed on until it came here: 0 for an instance that
    /// began without. A hand-over gives the next one away.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.fence.generation()
    }

    /// Keeps writes out once the state was handed over.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.shared.fence.clone()
    }

    /// Captures all participants, one after another.
    ///
    /// # Errors
    ///
    /// If another capture or restore is running, if a participant refuses, if it takes
    /// too long or is too large, or if there is no participant.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with a clock.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time. A participant that blocks is not interrupted, and
    /// until it is done there is no other capture.
    pub async fn capture(&self) -> Result<Capture, StateError> {
        let record = self.shared.record(Operation::Capture, Who::process());
        let captured = self.capture_recorded(&record).await;
        record.end_with(&captured);
        captured
    }

    async fn capture_recorded(&self, record: &Record) -> Result<Capture, StateError> {
        let permit = self.shared.permit()?;
        let captured = self.shared.capture(permit, false).await?.capture;
        record.contents(captured.size(), captured.digest());
        Ok(captured)
    }

    /// Restores all participants of an envelope, or none.
    ///
    /// # Errors
    ///
    /// If another capture or restore is running; if the envelope is broken, too large,
    /// of another application or an older generation; if a participant refuses; if this
    /// is not the time; if it takes too long. [`StateError::rolled_back`] says whether
    /// participants had been changed in between.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with a clock.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time: before the first participant commits nothing has
    /// changed, and from then on it goes on without whoever waited.
    pub async fn restore(
        &self,
        envelope: impl Into<Bytes>,
        how: Restore,
    ) -> Result<Restored, StateError> {
        let envelope = envelope.into();
        let operation = if how.dry_run {
            Operation::DryRun
        } else {
            Operation::Restore
        };
        let record = self.shared.record(operation, Who::process());
        let restored = self.restore_recorded(envelope, how, &record).await;
        record.end_with(&restored);
        restored
    }

    async fn restore_recorded(
        &self,
        envelope: Bytes,
        how: Restore,
        record: &Record,
    ) -> Result<Restored, StateError> {
        let limits = self.shared.limits;
        if envelope.len() > limits.max_size {
            return Err(StateError::too_large(limits.max_size));
        }
        self.shared.check_time(how)?;
        let permit = self.shared.permit()?;
        self.shared.check_restore(&how)?;
        let deadline = Instant::now() + limits.restore_timeout;
        let shared = &self.shared;
        let envelope = Segments::from(envelope);
        let restoring = shared.restore(permit, envelope, how, deadline, record);
        restoring.await
    }

    /// Writes the state into the [file](StateBuilder::file), on shutdown or now and
    /// then: into a file next to it, which takes its place once it is on the disk.
    /// Whoever reads finds the old state or the new one, whatever happens.
    ///
    /// Waits for its turn where another capture is running.
    ///
    /// # Errors
    ///
    /// If no file is configured; as [`capture`](Self::capture); if the state was handed
    /// over, or the file is of a newer generation: it belongs to another instance; or
    /// if it cannot be written.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with a clock.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; a write that has begun goes on.
    pub async fn save_file(&self) -> Result<(), StateError> {
        let record = self.shared.record(Operation::SaveFile, Who::process());
        let saved = file::save(&self.shared, &record).await;
        record.end_with(&saved);
        saved
    }

    /// Restores what the [file](StateBuilder::file) has, at start. `None` if there is no
    /// file.
    ///
    /// # Errors
    ///
    /// If no file is configured; as [`restore`](Self::restore); if it cannot be read. A
    /// file that is torn, foreign, too large or refused is renamed, to
    /// `<name>.rejected-<time>`, so that it neither gets lost nor in the way; the error
    /// says so.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with a clock.
    ///
    /// # Cancel safety
    ///
    /// As [`restore`](Self::restore).
    pub async fn restore_file(&self) -> Result<Option<Restored>, StateError> {
        let record = self.shared.record(Operation::RestoreFile, Who::process());
        let restored = match self.shared.check_time(Restore::new()) {
            Ok(()) => file::restore(&self.shared, &record).await,
            Err(error) => Err(error),
        };
        record.end_with(&restored);
        restored
    }

    /// The file that the state is kept in.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        self.shared.file.clone()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.shared.members.iter().map(|member| member.name());
        f.debug_struct("State")
            .field("application", &self.shared.application)
            .field("participants", &names.collect::<Vec<_>>())
            .field("fence", &self.shared.fence)
            .finish_non_exhaustive()
    }
}
