//! The news that the telemetry is to close, and until when.

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Clones see the same news.
#[derive(Clone, Debug)]
pub(crate) struct Closing(watch::Receiver<Option<Instant>>);

impl Closing {
    pub(crate) fn new() -> (watch::Sender<Option<Instant>>, Self) {
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

    /// Returns at the deadline.
    pub(crate) async fn over(&self) {
        self.begun().await;
        let deadline = *self.0.borrow();
        sleep_until(deadline.unwrap_or_else(Instant::now)).await;
    }
}
