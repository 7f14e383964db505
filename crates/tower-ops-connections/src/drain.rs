use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::clock::after;
use crate::shared::Shared;
use crate::{CloseReason, ConnectionSnapshot};

/// How many of the connections that had to be cut are named.
const NAMED: usize = 100;

/// How long to wait for what was cut to be dropped. A task that is not polled
/// cannot be told.
const CUT: Duration = Duration::from_millis(500);

/// How a drain went. Made by [`Connections::drain`](crate::Connections::drain).
#[derive(Clone, Debug)]
#[must_use = "says what was cut off"]
#[non_exhaustive]
pub struct DrainReport {
    /// How many connections ended in order.
    pub graceful: usize,
    /// How many had to be cut off at the deadline.
    pub forced: usize,
    /// What these were like, up to a hundred.
    pub cut: Vec<ConnectionSnapshot>,
    /// How many are still there: their tasks do not yield.
    pub left: usize,
    /// How long it took.
    pub took: Duration,
}

impl Shared {
    pub(crate) async fn drain(self: Arc<Self>, deadline: Duration) -> DrainReport {
        let begun = Instant::now();
        self.draining.store(true, Ordering::SeqCst);
        let at_first = self.open();
        for connection in self.shards.all() {
            if !connection.request_close(CloseReason::Drain) {
                // It is being closed already, and has less time from now on.
                connection.wake();
            }
        }
        let mut report = DrainReport {
            graceful: 0,
            forced: 0,
            cut: Vec::new(),
            left: 0,
            took: Duration::ZERO,
        };
        if timeout_at(after(begun, deadline), self.empty())
            .await
            .is_err()
        {
            for connection in self.shards.all() {
                // What only waits for a request that may come loses nothing.
                if !connection.record.lingers() {
                    report.forced += 1;
                    if report.cut.len() < NAMED {
                        report.cut.push(ConnectionSnapshot::of(&connection));
                    }
                }
                connection.force();
            }
            let _ = timeout_at(Instant::now() + CUT, self.empty()).await;
        }
        report.left = self.open();
        report.graceful = at_first.saturating_sub(report.forced);
        report.took = begun.elapsed();
        report
    }

    /// Completes when no connection is open.
    async fn empty(&self) {
        let mut ended = pin!(self.ended.notified());
        loop {
            ended.as_mut().enable();
            if self.open() == 0 {
                return;
            }
            ended.as_mut().await;
            ended.set(self.ended.notified());
        }
    }
}

impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections ended in order, {} were cut off, in {:.1?}",
            self.graceful, self.forced, self.took
        )?;
        for connection in &self.cut {
            write!(f, "\n  {connection}")?;
        }
        if self.forced > self.cut.len() {
            write!(f, "\n  and {} more", self.forced - self.cut.len())?;
        }
        Ok(())
    }
}

impl fmt::Display for ConnectionSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {} ({}", self.id, self.protocol)?;
        if let Some(peer) = self.peer {
            write!(f, ", {peer}")?;
        }
        write!(
            f,
            ") open for {:.1?}, {} of {} exchanges in flight",
            self.age, self.in_flight, self.exchanges
        )
    }
}
