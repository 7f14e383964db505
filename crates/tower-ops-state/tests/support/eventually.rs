//! Waits for what another thread is about to do.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// Panics if it does not come true.
pub(crate) async fn eventually(mut is_true: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_true().await {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = timeout(Duration::from_secs(10), waiting).await;
    waited.expect("it came true within 10 seconds");
}
