use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Records when the last new connection came, for a pre-drain that
/// [waits for quiet](crate::LifecycleBuilder::wait_for_quiet). Made by
/// [`Lifecycle::activity`](crate::Lifecycle::activity).
///
/// Cheap to clone; a touch reads the clock and stores a number.
///
/// # Examples
///
/// ```
/// # use tower_ops_lifecycle::Lifecycle;
/// let lifecycle = Lifecycle::new();
/// let activity = lifecycle.activity();
/// assert!(activity.last().is_none());
///
/// activity.touch(); // for each connection that was accepted
/// assert!(activity.last().is_some());
/// ```
#[derive(Clone)]
pub struct Activity {
    base: Instant,
    /// Nanoseconds since the base, plus one; 0 is never.
    last: Arc<AtomicU64>,
}

impl Activity {
    pub(crate) fn new(base: Instant) -> Self {
        Self {
            base,
            last: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Records that a new connection came just now.
    pub fn touch(&self) {
        let since = u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX - 1);
        // Several threads may store in any order: the latest time wins.
        self.last.fetch_max(since + 1, Ordering::Relaxed);
    }

    /// Returns when the last new connection came.
    #[must_use]
    pub fn last(&self) -> Option<Instant> {
        let since = self.last.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.base + Duration::from_nanos(since))
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activity")
            .field("last", &self.last())
            .finish()
    }
}
