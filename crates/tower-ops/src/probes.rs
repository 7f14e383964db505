use tower_ops_health::Health;
use tower_ops_lifecycle::{Lifecycle, Phase};

/// Has the probes tell the phase of the process: ready from [`Phase::Ready`] on, and not
/// any more, for good, from [`Phase::PreDraining`] on. Ends gRPC watches at [`Phase::Draining`],
/// and then itself.
///
/// Runs beside the probes, and not on the application's runtime: that may be too busy to
/// say that the process is about to stop.
pub(crate) async fn follow(lifecycle: Lifecycle, health: Health) {
    if lifecycle.wait_for(Phase::Ready).await == Phase::Ready {
        // By its steps. Else it was said already, and may have been taken back since.
        if !health.is_started() {
            health.mark_ready();
        }
        lifecycle.wait_for(Phase::PreDraining).await;
    }
    health.drain();
    // GOAWAY goes out with the drain: before, a client would open the next watch at once.
    lifecycle.wait_for(Phase::Draining).await;
    health.close_watches();
}
