use tower_ops_health::Health;
use tower_ops_lifecycle::{Lifecycle, Phase};

/// Keeps the probes at the phase of the process: ready from [`Phase::Ready`] on, and never again
/// from [`Phase::PreDraining`] on. Closes gRPC watches at [`Phase::Draining`], and returns.
///
/// Runs beside the probes and not on the application's runtime, which may be too busy to publish
/// that the process is about to stop.
pub(crate) async fn follow(lifecycle: Lifecycle, health: Health) {
    if lifecycle.wait_for(Phase::Ready).await == Phase::Ready {
        // Ready by its start-up steps. Otherwise it was marked already, and may have been marked
        // as not ready since.
        if !health.is_started() {
            health.mark_ready();
        }
        lifecycle.wait_for(Phase::PreDraining).await;
    }
    health.mark_draining();
    // GOAWAY goes out with the drain: before, a client would open the next watch at once.
    lifecycle.wait_for(Phase::Draining).await;
    health.close_watches();
}

/// Marks the process as not ready when the server is dropped, in whatever way it ends.
pub(crate) struct NotReadyOnDrop<'a>(pub(crate) &'a Health);

impl Drop for NotReadyOnDrop<'_> {
    fn drop(&mut self) {
        self.0.mark_not_ready();
    }
}
