use std::fmt;
use std::future::ready;
use std::sync::{Arc, MutexGuard};

use tokio::runtime::Handle;
use tower_ops_core::sync::Mutex;
use tower_ops_health::Health;
use tower_ops_lifecycle::{Lifecycle, Phase};
use tower_ops_state::State;

/// The start-up step of a process that waits for its state.
pub(crate) const STEP: &str = "state";

/// The process that the state belongs to, which is built after the state is configured.
///
/// The lifecycle has a hook that owns the state, and the state's callbacks own this. The cycle is
/// broken when the bundle is dropped, or the lifecycle would listen to signals for ever.
#[derive(Clone, Default)]
pub(crate) struct Process(Arc<Mutex<Option<(Lifecycle, Health)>>>);

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}

/// Forgets the process when it is dropped.
pub(crate) struct ForgetOnDrop(Process);

impl Drop for ForgetOnDrop {
    fn drop(&mut self) {
        // Not under the lock: dropping the last handle drops closures of the user.
        let forgotten = self.0.known().take();
        drop(forgotten);
    }
}

impl Process {
    /// Sets the process, until the returned guard is dropped.
    pub(crate) fn bind(&self, lifecycle: &Lifecycle, health: &Health) -> ForgetOnDrop {
        *self.known() = Some((lifecycle.clone(), health.clone()));
        ForgetOnDrop(self.clone())
    }

    fn known(&self) -> MutexGuard<'_, Option<(Lifecycle, Health)>> {
        self.0.lock()
    }

    fn get(&self) -> Option<(Lifecycle, Health)> {
        self.known().clone()
    }

    /// Returns whether no requests come: before the process is ready, or while it is marked as not
    /// ready. False once the shutdown has begun.
    pub(crate) fn may_be_restored(&self) -> bool {
        self.get().is_some_and(|(lifecycle, health)| {
            matches!(lifecycle.phase(), Phase::Starting | Phase::Ready) && !health.is_ready()
        })
    }

    /// Marks the process as not ready, since it has parts of two states.
    pub(crate) fn set_inconsistent(&self) {
        if let Some((_, health)) = self.get() {
            health.mark_not_ready();
        }
    }

    /// Ends the start-up step.
    pub(crate) fn set_restored(&self) {
        let (Some((lifecycle, _)), Ok(runtime)) = (self.get(), Handle::try_current()) else {
            return;
        };
        runtime.spawn(async move {
            let done = ready(Ok::<_, std::convert::Infallible>(()));
            // An error is a shutdown that has begun meanwhile.
            let _ = lifecycle.step(STEP, done).await;
        });
    }
}

/// Writes the state to its file when the process stops: after the drain, when nothing changes it any
/// more.
pub(crate) fn save_on_stop(lifecycle: &Lifecycle, state: &State) {
    let saved = state.clone();
    lifecycle.on_stop("state file", async move || {
        if saved.fence().is_handed_over() {
            return Ok(()); // another instance has it
        }
        saved.save_file().await
    });
}

/// Restores the state from its file, if there is one. If it is refused, the process starts without
/// it, and the file is kept under another name.
pub(crate) async fn restore_file(state: &State) {
    match state.restore_file().await {
        Ok(Some(_)) => tracing::info!("restored the state from its file"),
        Ok(None) => {}
        Err(error) => tracing::error!(%error, "could not restore the state from its file"),
    }
}
