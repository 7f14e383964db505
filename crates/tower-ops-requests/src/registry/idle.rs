use std::error::Error;
use std::fmt;
use std::time::Duration;

use tokio::time::timeout;

use crate::snapshot::RequestSnapshot;
use crate::tracker::RequestTracker;

impl RequestTracker {
    /// Whether nothing is in flight but what is
    /// [exempt](crate::RequestTrackerBuilder::exempt): streams, by default.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.inner.registry.is_idle()
    }

    /// Waits until nothing is in flight but what is
    /// [exempt](crate::RequestTrackerBuilder::exempt): streams, by default.
    ///
    /// Returns as soon as there is such a moment: stop taking new requests
    /// before. Costs requests nothing but the look whether somebody waits, when
    /// the last one in a shard ends.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn wait_idle(&self) {
        self.inner.registry.wait_idle().await;
    }

    /// As [`wait_idle`](Self::wait_idle), for at most `limit`.
    ///
    /// # Errors
    ///
    /// If something is still running then; the error names it.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn wait_idle_timeout(&self, limit: Duration) -> Result<(), StillRunning> {
        if timeout(limit, self.wait_idle()).await.is_ok() {
            return Ok(());
        }
        let mut running = self.inner.registry.awaited();
        if running.is_empty() {
            return Ok(()); // just in time
        }
        let count = running.len();
        running.truncate(StillRunning::MOST_NAMED);
        Err(StillRunning {
            count,
            named: self.snapshots(&running),
        })
    }
}

/// What was still running when the waiting was over. Its text has the route or
/// the name, the age and the peer of each, and nothing that a client sent.
#[derive(Clone, Debug)]
pub struct StillRunning {
    count: usize,
    named: Vec<RequestSnapshot>,
}

impl StillRunning {
    /// How many are named at most.
    pub const MOST_NAMED: usize = 100;

    /// How many are still running.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// They themselves, the oldest first: at most [`MOST_NAMED`](Self::MOST_NAMED).
    #[must_use]
    pub fn requests(&self) -> &[RequestSnapshot] {
        &self.named
    }
}

impl fmt::Display for StillRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} still running: ", self.count)?;
        for (place, request) in self.named.iter().enumerate() {
            if place > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{request}")?;
        }
        if self.count > self.named.len() {
            write!(f, "; and {} more", self.count - self.named.len())?;
        }
        Ok(())
    }
}

impl Error for StillRunning {}
