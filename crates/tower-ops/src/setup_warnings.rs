//! Warnings about a set-up that is wrong and shows no error.

use std::time::Duration;

use tokio::time::sleep;
use tower_ops_connections::Connections;
use tower_ops_lifecycle::{Lifecycle, Phase};

/// How often the connections are checked.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// How long a service may be live and not ready without a warning.
const NOT_READY: Duration = Duration::from_secs(60);

/// Logs a warning, once, if requests are answered that did not pass the layer.
pub(crate) async fn watch_layer(connections: Connections) {
    while connections.unwatched() == 0 {
        sleep(CHECK_EVERY).await;
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

/// Logs a warning, once, if the service is not ready after a minute.
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
