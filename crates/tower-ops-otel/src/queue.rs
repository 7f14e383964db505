//! What has ended and waits for its export. It never blocks who puts something in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::sync::Notify;

use crate::counts::{Counts, DropReason};
use crate::settings::BatchSettings;

/// No further entry gets a place.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// The end that requests see.
///
/// An entry first reserves a place. So the thread that closes the queue knows how many are still on their
/// way into it, and none is lost uncounted between the last look and the end.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    sender: SyncSender<T>,
    /// The places taken, and the mark `CLOSED`.
    places: AtomicUsize,
    settings: BatchSettings,
    full_batch: Notify,
    counts: Arc<Counts>,
}

impl<T> Queue<T> {
    pub(crate) fn new(settings: BatchSettings, counts: Arc<Counts>) -> (Arc<Self>, Outlet<T>) {
        let (sender, receiver) = sync_channel(settings.queue);
        let queue = Arc::new(Self {
            sender,
            places: AtomicUsize::new(0),
            settings,
            full_batch: Notify::new(),
            counts,
        });
        let outlet = Outlet {
            queue: Arc::clone(&queue),
            receiver,
        };
        (queue, outlet)
    }

    /// Puts it in, or drops and counts it.
    pub(crate) fn push(&self, entry: T) {
        let before = self.places.fetch_add(1, Ordering::AcqRel);
        let reason = if before & CLOSED != 0 {
            DropReason::Shutdown
        } else if before >= self.settings.queue {
            DropReason::QueueFull
        } else if self.sender.try_send(entry).is_err() {
            // There is a place: only that nobody takes anything out any more can be the reason.
            DropReason::Shutdown
        } else {
            if before + 1 == self.settings.batch {
                self.full_batch.notify_one();
            }
            return;
        };
        self.places.fetch_sub(1, Ordering::AcqRel);
        self.counts.dropped(reason, 1);
    }
}

/// The end from which the telemetry thread takes.
#[derive(Debug)]
pub(crate) struct Outlet<T> {
    queue: Arc<Queue<T>>,
    receiver: Receiver<T>,
}

impl<T> Outlet<T> {
    pub(crate) fn settings(&self) -> &BatchSettings {
        &self.queue.settings
    }

    /// Waits until there is a full batch.
    ///
    /// # Cancel safety
    ///
    /// It loses nothing.
    pub(crate) async fn full_batch(&self) {
        // It may be woken for one that was taken in the meantime.
        while self.len() < self.queue.settings.batch {
            self.queue.full_batch.notified().await;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.places.load(Ordering::Acquire) & !CLOSED
    }

    /// Takes up to a batch out. Until it is [settled](Batch::settle) it counts as lost.
    pub(crate) fn take(&self) -> Option<Batch<T>> {
        let mut entries = Vec::new();
        let mut patience = 100;
        while entries.len() < self.queue.settings.batch {
            match self.receiver.try_recv() {
                Ok(entry) => entries.push(entry),
                // A thread that has reserved a place is between two instructions of `push`.
                Err(_) if self.len() > entries.len() && patience > 0 => {
                    patience -= 1;
                    std::thread::yield_now();
                }
                Err(_) => break,
            }
        }
        self.queue.places.fetch_sub(entries.len(), Ordering::AcqRel);
        let unsettled = entries.len() as u64;
        (unsettled > 0).then(|| Batch {
            entries,
            unsettled,
            counts: Arc::clone(&self.queue.counts),
        })
    }

    /// Lets no further entry in.
    pub(crate) fn close(&self) {
        self.queue.places.fetch_or(CLOSED, Ordering::AcqRel);
    }
}

/// What nobody took out counts as lost in the shutdown.
impl<T> Drop for Outlet<T> {
    fn drop(&mut self) {
        self.close();
        while self.len() > 0 {
            drop(self.take());
        }
    }
}

/// Entries that are being exported.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    pub(crate) entries: Vec<T>,
    unsettled: u64,
    counts: Arc<Counts>,
}

impl<T> Batch<T> {
    pub(crate) const fn len(&self) -> u64 {
        self.unsettled
    }

    /// Counts what became of them: `rejected` of them were taken by nobody.
    pub(crate) fn settle(mut self, result: Result<u64, DropReason>) {
        let all = std::mem::take(&mut self.unsettled);
        match result {
            Ok(rejected) => {
                let rejected = rejected.min(all);
                self.counts.exported(all - rejected);
                if rejected > 0 {
                    self.counts.dropped(DropReason::Rejected, rejected);
                }
            }
            Err(reason) => self.counts.dropped(reason, all),
        }
    }
}

impl<T> Drop for Batch<T> {
    fn drop(&mut self) {
        if self.unsettled > 0 {
            self.counts.dropped(DropReason::Shutdown, self.unsettled);
        }
    }
}
