//! Closes all connections in order, and forces those that are left at the deadline.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::clock::after;
use crate::connections::shared::Shared;
use crate::{CloseReason, Connection, ConnectionSnapshot};

#[cfg(test)]
mod tests;

/// How many connections a report lists.
const LISTED: usize = 100;

/// How long to wait for forced connections to be dropped. A task that is not polled does not learn of
/// it.
const FORCED: Duration = Duration::from_millis(500);

/// The result of a drain. Made by [`Connections::drain`](crate::Connections::drain).
#[derive(Clone, Debug)]
#[must_use = "lists what was cut off"]
#[non_exhaustive]
pub struct DrainReport {
    /// How many connections ended in order.
    pub graceful: usize,
    /// How many ended with exchanges in flight before the deadline: reading or writing failed, the
    /// protocol was violated, or the client had stalled. Not those that the client closed. Counted
    /// from the first drain on.
    pub lost: usize,
    /// Snapshots of these, up to 100.
    pub broken: Vec<ConnectionSnapshot>,
    /// How many were cut off at the deadline.
    pub forced: usize,
    /// Snapshots of these, up to 100.
    pub cut: Vec<ConnectionSnapshot>,
    /// How many are still open, because their tasks do not yield.
    pub left: usize,
    /// How long it took.
    pub took: Duration,
}

/// The connections that were lost since a drain began.
#[derive(Default)]
pub(crate) struct Lost {
    count: usize,
    listed: Vec<ConnectionSnapshot>,
}

impl Shared {
    pub(crate) async fn drain(self: Arc<Self>, timeout: Option<Duration>) -> DrainReport {
        let begun = Instant::now();
        self.draining.store(true, Ordering::SeqCst);
        // The futures of `drained` wait for a drain to begin.
        self.ended.notify_waiters();
        let at_first = self.open();
        let lost_before = self.lost.lock().count;
        for connection in self.shards.all() {
            if !connection.request_close(CloseReason::Drain) {
                // It is being closed already. From now on its linger is shorter.
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
        let ended = match timeout {
            Some(timeout) => timeout_at(after(begun, timeout), self.empty()).await,
            None => {
                self.empty().await;
                Ok(())
            }
        };
        if ended.is_err() {
            for connection in self.shards.all() {
                // A connection that only waits for one more request loses nothing.
                let record = &connection.record;
                if !record.lingers() && record.is_to_be_reported() {
                    report.forced += 1;
                    if report.cut.len() < LISTED {
                        report.cut.push(ConnectionSnapshot::of(&connection));
                    }
                }
                connection.force();
            }
        }
        {
            // After the loop: what was not reported there has been counted here by now.
            let lost = self.lost.lock();
            report.lost = lost.count;
            report.broken.clone_from(&lost.listed);
        }
        if ended.is_err() {
            let _ = timeout_at(Instant::now() + FORCED, self.empty()).await;
        }
        report.left = self.open();
        let lost = report.lost - lost_before;
        report.graceful = at_first.saturating_sub(report.forced + lost);
        report.took = begun.elapsed();
        report
    }

    /// Records that a connection failed with so many exchanges in flight.
    pub(crate) fn note_lost(&self, connection: &Connection, in_flight: u32) {
        if !self.draining.load(Ordering::SeqCst) {
            return;
        }
        let mut lost = self.lost.lock();
        if !connection.record.is_to_be_reported() {
            return;
        }
        lost.count += 1;
        if lost.listed.len() < LISTED {
            // The exchanges have been dropped by now.
            let mut snapshot = ConnectionSnapshot::of(connection);
            snapshot.in_flight = in_flight;
            lost.listed.push(snapshot);
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
        list(f, "", &self.cut, self.forced)?;
        list(f, "lost: ", &self.broken, self.lost)
    }
}

fn list(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    listed: &[ConnectionSnapshot],
    all: usize,
) -> fmt::Result {
    for connection in listed {
        write!(f, "\n  {what}{connection}")?;
    }
    if all > listed.len() {
        write!(f, "\n  {what}and {} more", all - listed.len())?;
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
