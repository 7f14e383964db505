use std::error::Error;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use crate::record::Record;
use crate::record::snapshot::RequestSnapshot;
use crate::registry::{Registry, Shard};
use crate::tracker::RequestTracker;

impl RequestTracker {
    /// Returns whether nothing is in flight except the kinds that are
    /// [exempt](crate::RequestTrackerBuilder::exempt): streams, by default.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.inner.registry.is_idle()
    }

    /// Waits until nothing is in flight except the kinds that are
    /// [exempt](crate::RequestTrackerBuilder::exempt): streams, by default.
    ///
    /// Returns at the first such moment, so stop accepting new requests before. It does not poll.
    /// The cost to a request is one check for waiters, when it is the last one of its shard to end.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future loses nothing.
    pub async fn wait_idle(&self) {
        self.inner.registry.wait_idle().await;
    }

    /// Waits as [`wait_idle`](Self::wait_idle) does, for at most `limit`.
    ///
    /// # Errors
    ///
    /// If something is still running then; the error names it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future loses nothing.
    pub async fn wait_idle_timeout(&self, limit: Duration) -> Result<(), StillRunning> {
        if timeout(limit, self.wait_idle()).await.is_ok() {
            return Ok(());
        }
        let mut running = self.inner.registry.awaited();
        if running.is_empty() {
            return Ok(()); // the last one ended just now
        }
        let count = running.len();
        running.truncate(StillRunning::MOST_NAMED);
        Err(StillRunning {
            count,
            named: self.snapshots(&running),
        })
    }
}

/// What was still running when [`wait_idle_timeout`](RequestTracker::wait_idle_timeout) gave up.
///
/// Its text has the route or the name, the age and the peer of each, and nothing that a client
/// sent.
#[derive(Clone, Debug)]
pub struct StillRunning {
    count: usize,
    named: Vec<RequestSnapshot>,
}

impl StillRunning {
    /// The most that are named: 100.
    pub const MOST_NAMED: usize = 100;

    /// Returns how many are still running.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Returns what is still running, the oldest first: at most [`MOST_NAMED`](Self::MOST_NAMED).
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

impl Registry {
    async fn wait_idle(&self) {
        let _waiting = Waiting::new(&self.waiting);
        loop {
            let mut idle = pin!(self.idle.notified());
            // From here on no wake-up is missed. If there is still an entry in a shard below, its
            // removal takes the shard's lock after this look, and so finds this waiter counted.
            idle.as_mut().enable();
            if self.is_idle() {
                return;
            }
            idle.await;
        }
    }

    fn is_idle(&self) -> bool {
        let is_empty = |shard: &Shard| shard.in_flight.awaited() == 0;
        if !(0..self.shards.len()).all(|place| is_empty(&self.shards.lock(place))) {
            return false;
        }
        // Looked at one by one, they may have been empty at different times.
        self.shards.lock_all().iter().all(|shard| is_empty(shard))
    }

    /// What a shutdown waits for, the oldest first.
    fn awaited(&self) -> Vec<Arc<Record>> {
        let mut records = self.in_flight();
        records.retain(|record| {
            let progress = record.progress();
            progress.end.is_none() && self.is_awaited(progress.kind)
        });
        records
    }

    pub(super) fn wake_if(&self, last: bool) {
        if last && self.waiting.load(Ordering::Relaxed) > 0 {
            self.idle.notify_waiters();
        }
    }
}

/// Counts a waiter for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
