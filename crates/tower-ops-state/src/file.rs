//! The state in a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::{Instant, timeout};

use crate::capture::Capture;
use crate::envelope::{longest_front, read_head};
use crate::error::{ErrorKind, StateError};
use crate::record::Record;
use crate::restore::{Restore, Restored};
use crate::segments::{Collector, Segments};
use crate::shared::{Permit, Shared};
use crate::worker;

pub(crate) async fn save(shared: &Arc<Shared>, record: &Record) -> Result<(), StateError> {
    let path = configured(shared)?;
    let permit = turn(shared).await?;
    if shared.fence.is_handed_over() {
        return Err(StateError::handed_over());
    }
    let captured = shared.capture(permit, false).await?;
    record.contents(captured.capture.size(), captured.capture.digest());
    let generation = shared.fence.generation();
    blocking(move || {
        let written = newer_generation(&path, generation).and_then(|newer| match newer {
            Some(newer) => Err(StateError::new(
                ErrorKind::Generation,
                format!("{} is of generation {newer} already", path.display()),
            )),
            None => replace(&path, &captured.capture).map_err(|error| about(&path, &error)),
        });
        // Until here, so that no two write at once.
        drop(captured);
        written
    })
    .await
}

pub(crate) async fn restore(
    shared: &Arc<Shared>,
    record: &Record,
) -> Result<Option<Restored>, StateError> {
    let path = configured(shared)?;
    let permit = turn(shared).await?;
    shared.check_restore(&Restore::new())?;
    let deadline = Instant::now() + shared.limits.restore_timeout;
    let (from, limit) = (path.clone(), shared.limits.max_size);
    let read = blocking(move || {
        remove_leftovers(&from);
        read(&from, limit)
    });
    let restored = match read.await {
        Ok(None) => return Ok(None),
        Ok(Some(envelope)) => {
            let restoring = shared.restore(permit, envelope, Restore::new(), deadline, record);
            restoring.await
        }
        Err(error) => Err(error),
    };
    match restored {
        Ok(restored) => Ok(Some(restored)),
        Err(error) if is_about_contents(&error) => {
            blocking(move || Err(keep_aside(&path, error))).await
        }
        Err(error) => Err(error),
    }
}

fn configured(shared: &Shared) -> Result<PathBuf, StateError> {
    shared.file.clone().ok_or_else(|| {
        StateError::new(
            ErrorKind::Unavailable,
            "no file is configured for the state",
        )
    })
}

async fn turn(shared: &Shared) -> Result<Permit, StateError> {
    let turn = Arc::clone(&shared.flight).acquire_owned();
    match timeout(shared.limits.capture_timeout, turn).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => Err(StateError::busy()),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    worker::spawn(work)?.await.map_err(StateError::internal)?
}

fn about(path: &Path, error: &io::Error) -> StateError {
    StateError::internal(format!("{}: {error}", path.display()))
}

/// Whether the file, and not the moment, is what is wrong.
const fn is_about_contents(error: &StateError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Broken | ErrorKind::Refused | ErrorKind::TooLarge | ErrorKind::Generation
    )
}

fn read(path: &Path, limit: usize) -> Result<Option<Segments>, StateError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(about(path, &error)),
    };
    let mut envelope = Collector::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = file
            .read(&mut buffer)
            .map_err(|error| about(path, &error))?;
        if count == 0 {
            return Ok(Some(envelope.finish()));
        }
        if envelope.len() + count > limit {
            return Err(StateError::too_large(limit));
        }
        envelope.push(&buffer[..count]);
    }
}

/// The generation of the file, if that is a newer one. What is no envelope has none.
fn newer_generation(path: &Path, ours: u64) -> Result<Option<u64>, StateError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(about(path, &error)),
    };
    let mut front = Vec::new();
    let most = u64::try_from(longest_front()).unwrap_or(u64::MAX);
    file.take(most)
        .read_to_end(&mut front)
        .map_err(|error| about(path, &error))?;
    let head = read_head(&front, None).ok();
    Ok(head
        .map(|head| head.generation)
        .filter(|theirs| *theirs > ours))
}

/// Writes next to the file, syncs, takes its place, syncs the directory: in that order
/// the name never stands for anything half written, whenever the power fails.
fn replace(path: &Path, capture: &Capture) -> io::Result<()> {
    let next = leftover_prefix(path).map(|prefix| format!("{prefix}{}", std::process::id()));
    let next = path.with_file_name(next.ok_or(io::ErrorKind::InvalidFilename)?);
    let written = write(&next, capture).and_then(|()| fs::rename(&next, path));
    if let Err(error) = written {
        let _ = fs::remove_file(&next);
        return Err(error);
    }
    sync_directory(path)
}

fn write(path: &Path, capture: &Capture) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out = BufWriter::with_capacity(256 * 1024, options.open(path)?);
    capture.write_to(&mut out)?;
    out.into_inner()?.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    // Elsewhere a directory cannot be opened, and a rename needs no sync of it.
    if cfg!(unix) {
        File::open(directory(path))?.sync_all()?;
    }
    Ok(())
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Files that are being written begin with this, and end in the writer's process id.
fn leftover_prefix(path: &Path) -> Option<String> {
    Some(format!(".{}.next-", path.file_name()?.to_str()?))
}

/// Removes what was being written when a process was killed.
fn remove_leftovers(path: &Path) {
    let (Some(prefix), Ok(entries)) = (leftover_prefix(path), fs::read_dir(directory(path))) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(&prefix)) {
            // It only takes up room.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn keep_aside(path: &Path, error: StateError) -> StateError {
    let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let mut aside = path.as_os_str().to_owned();
    // Colons are not allowed everywhere.
    aside.push(format!(".rejected-{}", time.replace(':', "")));
    let aside = PathBuf::from(aside);
    let kept = fs::rename(path, &aside).and_then(|()| sync_directory(path));
    match kept {
        Ok(()) => error.add(&format!("the file was kept as {}", aside.display())),
        Err(failed) => error.add(&format!("the file could not be kept aside: {failed}")),
    }
}
