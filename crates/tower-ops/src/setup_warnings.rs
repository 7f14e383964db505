//! Warnings where a set-up is silently wrong.

use std::time::Duration;

use tokio::time::sleep;
use tower_ops_connections::Connections;
use tower_ops_lifecycle::{Lifecycle, Phase};

/// How often the connections are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How long a service may be live and not ready before that is worth a warning.
const NOT_READY: Duration = Duration::from_secs(60);

/// Warns, once, that requests are answered which the layer has not seen.
pub(crate) async fn watch_layer(connections: Connections) {
    while connections.unwatched() == 0 {
        sleep(LOOK).await;
    }
    if connections.is_watched() {
        tracing::warn!(
            "a connection's requests were answered before they reached ops.layer(), and are in no \
             metrics, spans or /requests: something around the layer answers by itself; put the \
             layer outermost, unless this is meant"
        );
    } else {
        tracing::warn!(
            "requests are answered, and none has passed ops.layer(): they are in no metrics, spans \
             or /requests; add .layer(ops.layer()) to the application, outermost"
        );
    }
}

/// Warns, once, if the service is not ready after a minute.
pub(crate) async fn watch_readiness(lifecycle: Lifecycle) {
    sleep(NOT_READY).await;
    if lifecycle.phase() == Phase::Starting {
        let missing = if lifecycle.awaits_steps() {
            "a start-up step has not ended"
        } else {
            "nothing has called mark_ready()"
        };
        tracing::warn!(
            "the service has been live for a minute and is not ready, so that it is sent no \
             requests: {missing}"
        );
    }
}
