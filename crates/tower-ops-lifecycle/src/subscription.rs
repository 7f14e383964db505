use std::fmt;

use tokio::sync::watch;

use crate::phase::Phase;

/// Watches the phases of a [`Lifecycle`](crate::Lifecycle). Made by
/// [`Lifecycle::subscribe`](crate::Lifecycle::subscribe).
///
/// It shows the latest phase: one that ended before it was looked at is skipped.
#[derive(Clone)]
pub struct Subscription {
    phases: watch::Receiver<Phase>,
    seen: Phase,
}

impl Subscription {
    pub(crate) fn new(phases: watch::Receiver<Phase>) -> Self {
        let seen = *phases.borrow();
        Self { phases, seen }
    }

    /// The phase of this moment.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phases.borrow()
    }

    /// Waits for a phase later than the last one seen here; at first, later than
    /// the one at the time of the subscription. `None` once [`Phase::Stopped`] was
    /// seen, or if the lifecycle is gone.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; no phase is lost by it.
    pub async fn changed(&mut self) -> Option<Phase> {
        if self.seen == Phase::Stopped {
            return None;
        }
        let seen = self.seen;
        let later = *self.phases.wait_for(|phase| *phase > seen).await.ok()?;
        self.seen = later;
        Some(later)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("phase", &self.phase())
            .field("seen", &self.seen)
            .finish()
    }
}
