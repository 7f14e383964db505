use std::fmt;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::clock::after;
use crate::shared::Shared;
use crate::{CloseReason, Connection, ConnectionSnapshot};

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
    /// How many ended with exchanges in flight, but were not cut off at the deadline:
    /// reading or writing failed, a protocol was violated, or the client had stalled.
    /// Not those that the client closed by itself. Counted from the first drain on.
    pub lost: usize,
    /// What these were like, up to a hundred.
    pub broken: Vec<ConnectionSnapshot>,
    /// How many had to be cut off at the deadline.
    pub forced: usize,
    /// What these were like, up to a hundred.
    pub cut: Vec<ConnectionSnapshot>,
    /// How many are still there: their tasks do not yield.
    pub left: usize,
    /// How long it took.
    pub took: Duration,
}

/// The connections that were lost since a drain began.
#[derive(Default)]
pub(crate) struct Lost {
    count: usize,
    named: Vec<ConnectionSnapshot>,
}

impl Shared {
    pub(crate) async fn drain(self: Arc<Self>, deadline: Duration) -> DrainReport {
        let begun = Instant::now();
        self.draining.store(true, Ordering::SeqCst);
        // Whoever waits for the end of a drain looks again.
        self.ended.notify_waiters();
        let at_first = self.open();
        let lost_before = self.lost().count;
        for connection in self.shards.all() {
            if !connection.request_close(CloseReason::Drain) {
                // It is being closed already, and has less time from now on.
                connection.wake();
            }
        }
        let mut report = DrainReport {
            graceful: 0,
            lost: 0,
            broken: Vec::new(),
            forced: 0,
            cut: Vec::new(),
            left: 0,
            took: Duration::ZERO,
        };
        let ended = timeout_at(after(begun, deadline), self.empty()).await;
        if ended.is_err() {
            for connection in self.shards.all() {
                // What only waits for a request that may come loses nothing.
                let record = &connection.record;
                if !record.lingers() && record.is_to_be_reported() {
                    report.forced += 1;
                    if report.cut.len() < NAMED {
                        report.cut.push(ConnectionSnapshot::of(&connection));
                    }
                }
                connection.force();
            }
        }
        {
            // After the loop: what it skipped as reported is counted here by now.
            let lost = self.lost();
            report.lost = lost.count;
            report.broken.clone_from(&lost.named);
        }
        if ended.is_err() {
            let _ = timeout_at(Instant::now() + CUT, self.empty()).await;
        }
        report.left = self.open();
        let lost = report.lost - lost_before;
        report.graceful = at_first.saturating_sub(report.forced + lost);
        report.took = begun.elapsed();
        report
    }

    fn lost(&self) -> MutexGuard<'_, Lost> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection has ended with so many exchanges in flight, and not in order.
    pub(crate) fn note_lost(&self, connection: &Connection, in_flight: u32) {
        if !self.draining.load(Ordering::SeqCst) {
            return;
        }
        let mut lost = self.lost();
        if !connection.record.is_to_be_reported() {
            return;
        }
        lost.count += 1;
        if lost.named.len() < NAMED {
            // They have been dropped by now.
            let mut snapshot = ConnectionSnapshot::of(connection);
            snapshot.in_flight = in_flight;
            lost.named.push(snapshot);
        }
    }

    /// Completes when a drain has begun and no connection is open.
    pub(crate) async fn drained(self: Arc<Self>) {
        self.until(|| self.is_draining() && self.open() == 0).await;
    }

    async fn empty(&self) {
        self.until(|| self.open() == 0).await;
    }

    async fn until(&self, done: impl Fn() -> bool) {
        let mut ended = pin!(self.ended.notified());
        loop {
            ended.as_mut().enable();
            if done() {
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
            "{} connections ended in order, {} were cut off",
            self.graceful, self.forced
        )?;
        if self.lost > 0 {
            write!(f, ", {} were lost", self.lost)?;
        }
        write!(f, ", in {:.1?}", self.took)?;
        name(f, "", &self.cut, self.forced)?;
        name(f, "lost: ", &self.broken, self.lost)
    }
}

fn name(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    named: &[ConnectionSnapshot],
    all: usize,
) -> fmt::Result {
    for connection in named {
        write!(f, "\n  {what}{connection}")?;
    }
    if all > named.len() {
        write!(f, "\n  {what}and {} more", all - named.len())?;
    }
    Ok(())
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

#[cfg(test)]
mod tests;
