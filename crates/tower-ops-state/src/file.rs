//! The state in a file, which keeps it from one process to the next.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::{Instant, timeout};
use tower_ops_core::file;

use crate::audit::AuditEntry;
use crate::envelope::{LONGEST_FRONT, Received, Segments, read_head};
use crate::error::{ErrorKind, StateError, StateResult};
use crate::restore::{Restore, Restored};
use crate::state::{Permit, StateInner, spawn};

impl StateInner {
    pub(crate) async fn save_file(self: &Arc<Self>, entry: &AuditEntry) -> StateResult<()> {
        let path = self.file_path()?;
        let permit = self.wait_for_permit().await?;
        if self.fence.is_handed_over() {
            return Err(StateError::handed_over());
        }
        let captured = self.capture(permit, false).await?;
        entry.set_contents(captured.capture.size(), captured.capture.digest());
        let generation = self.fence.generation();
        spawn(move || {
            if let Some(newer) = newer_generation(&path, generation)? {
                let text = format!("{} already has generation {newer}", path.display());
                return Err(ErrorKind::Generation.error(text));
            }
            // The permit in `captured` is held until here, so that no two writes overlap.
            let write = |file: &mut File| {
                let out = BufWriter::with_capacity(256 * 1024, file);
                captured.capture.write_to(out)
            };
            file::replace(&path, write).map_err(|error| about(&path, &error))
        })?
        .await
    }

    pub(crate) async fn restore_file(
        self: &Arc<Self>,
        entry: &AuditEntry,
    ) -> StateResult<Option<Restored>> {
        let how = Restore::new();
        self.check_time(how)?;
        let path = self.file_path()?;
        let permit = self.wait_for_permit().await?;
        self.check_restore(how)?;
        let deadline = Instant::now() + self.settings.restore_timeout;
        let (from, limit) = (path.clone(), self.settings.max_size);
        let read = spawn(move || {
            file::remove_leftovers(&from);
            let file = open(&from)?;
            let read = |file| Segments::read_from(file, limit, |error| about(&from, &error));
            file.map(read).transpose()
        })?;
        let restored = match read.await {
            Ok(None) => return Ok(None),
            Ok(Some(envelope)) => {
                let is_gzip = false;
                let received = Received { envelope, is_gzip };
                self.restore(permit, received, how, deadline, entry).await
            }
            Err(error) => Err(error),
        };
        match restored {
            Err(error) if is_about_contents(&error) => {
                spawn(move || Err(keep_aside(&path, error)))?.await
            }
            restored => restored.map(Some),
        }
    }

    fn file_path(&self) -> StateResult<PathBuf> {
        let path = self.settings.file.clone();
        path.ok_or_else(|| ErrorKind::Unavailable.error("no file is configured for the state"))
    }

    async fn wait_for_permit(&self) -> StateResult<Permit> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = timeout(self.settings.capture_timeout, permit).await;
        permit
            .ok()
            .and_then(Result::ok)
            .ok_or_else(StateError::busy)
    }
}

fn about(path: &Path, error: &io::Error) -> StateError {
    StateError::internal(format!("{}: {error}", path.display()))
}

/// Returns whether the file is at fault, and not the moment at which it was read.
const fn is_about_contents(error: &StateError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Broken | ErrorKind::Refused | ErrorKind::TooLarge | ErrorKind::Generation
    )
}

fn open(path: &Path) -> StateResult<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(about(path, &error)),
    }
}

/// Returns the generation of the file if it is newer than ours. A file that is not an envelope has
/// no generation.
fn newer_generation(path: &Path, ours: u64) -> StateResult<Option<u64>> {
    let Some(file) = open(path)? else {
        return Ok(None);
    };
    let mut front = Vec::new();
    file.take(LONGEST_FRONT as u64)
        .read_to_end(&mut front)
        .map_err(|error| about(path, &error))?;
    let theirs = read_head(&front).ok().map(|head| head.generation);
    Ok(theirs.filter(|theirs| *theirs > ours))
}

/// Renames a file that cannot be restored, so that it is neither lost nor in the way.
fn keep_aside(path: &Path, error: StateError) -> StateError {
    let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let mut aside = path.as_os_str().to_owned();
    // Not every file system allows colons.
    aside.push(format!(".rejected-{}", time.replace(':', "")));
    let aside = PathBuf::from(aside);
    let kept = fs::rename(path, &aside).and_then(|()| file::sync_directory(path));
    match kept {
        Ok(()) => error.add(&format!("the file was renamed to {}", aside.display())),
        Err(failed) => error.add(&format!("the file could not be renamed: {failed}")),
    }
}
