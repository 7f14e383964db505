use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

use crate::phase::Phase;
use crate::shared::Shared;

/// Tells work without an end of its own that it has to end. Cheap to clone. Made by
/// [`Lifecycle::drain_token`](crate::Lifecycle::drain_token) and
/// [`Lifecycle::pre_drain_token`](crate::Lifecycle::pre_drain_token).
///
/// A token only tells; the drain does not wait for whoever has one. For that, hold a
/// [guard](crate::Lifecycle::drain_guard).
///
/// # Examples
///
/// ```
/// # use tower_ops_lifecycle::Lifecycle;
/// # async fn receive() -> Option<u8> { None }
/// # async fn example(lifecycle: Lifecycle) {
/// let token = lifecycle.pre_drain_token();
/// while let Some(Some(message)) = token.run_until_cancelled(receive()).await {
///     // work on it
/// #   drop(message);
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct DrainToken {
    shared: Arc<Shared>,
    at: Phase,
}

impl DrainToken {
    pub(crate) const fn new(shared: Arc<Shared>, at: Phase) -> Self {
        Self { shared, at }
    }

    /// Whether it is time to end. One atomic load.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.shared.phase() >= self.at
    }

    /// Waits until it is time to end.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn cancelled(&self) {
        self.shared.reached(self.at).await;
    }

    /// As [`cancelled`](Self::cancelled), for a future that may outlive this token.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn cancelled_owned(self) {
        self.cancelled().await;
    }

    /// Runs a future until it ends, or drops it when it is time to end: `None`.
    ///
    /// # Cancel safety
    ///
    /// As the future's.
    pub async fn run_until_cancelled<F: IntoFuture>(&self, work: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.cancelled() => None,
            output = work.into_future() => Some(output),
        }
    }
}

impl fmt::Debug for DrainToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainToken")
            .field("is_cancelled", &self.is_cancelled())
            .finish()
    }
}
