//! The news that the telemetry is to close, and how long that may take.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// Clones see the same news.
#[derive(Clone, Debug)]
pub(crate) struct Closing(watch::Receiver<Option<Duration>>);

impl Closing {
    pub(crate) fn new() -> (watch::Sender<Option<Duration>>, Self) {
        let (sender, receiver) = watch::channel(None);
        (sender, Self(receiver))
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Returns once it has begun.
    pub(crate) async fn begun(&self) {
        let mut news = self.0.clone();
        // An error means that nobody can close it in any other way any more.
        let _ = news.wait_for(Option::is_some).await;
    }

    /// Returns once it has begun and its time has passed: on the clock of the telemetry thread, whatever
    /// a test does to that of its own runtime.
    pub(crate) async fn over(&self) {
        self.begun().await;
        let timeout = *self.0.borrow();
        sleep(timeout.unwrap_or_default()).await;
    }
}
