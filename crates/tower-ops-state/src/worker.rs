//! Threads for what may block: the application's code, and file systems.

use std::thread;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::StateError;

/// Runs `work` on a thread of its own, and gives its result to whoever still waits.
///
/// Not on the blocking pool: a runtime waits for that at its end, and with it the process, however
/// long a getter or a file system hangs.
pub(crate) fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, StateError> {
    let (done, is_done) = oneshot::channel();
    let runtime = Handle::current();
    let thread = thread::Builder::new().name("state".into());
    let spawned = thread.spawn(move || {
        let _entered = runtime.enter();
        // Nobody waits any more if its time was over.
        let _ = done.send(work());
    });
    match spawned {
        Ok(_) => Ok(is_done),
        Err(error) => Err(StateError::internal(error)),
    }
}
