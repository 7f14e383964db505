use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tower_ops_core::panic::catch;
use tower_ops_core::sync::Mutex;

use crate::check::Report;
use crate::status::Status;

/// How many changes wait for a slow subscriber.
const CAPACITY: usize = 256;

/// A change of the status of a check.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Change {
    /// The status before.
    pub from: Status,
    /// The status after.
    pub to: Status,
    /// The check, with its name.
    pub report: Report,
}

/// The changes of all checks, in order. Made by [`Health::changes`](crate::Health::changes).
///
/// As a `Stream` it ends with the last handle of the [`Health`](crate::Health). Up to 256 changes
/// wait. Further ones are dropped and counted in [`missed`](Self::missed).
#[derive(Debug)]
pub struct Changes {
    receiver: mpsc::Receiver<Change>,
    missed: Arc<AtomicU64>,
}

impl Changes {
    /// Waits for the next change. `None` once there can be no other.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no change is lost.
    pub async fn next(&mut self) -> Option<Change> {
        self.receiver.recv().await
    }

    /// Returns how many changes were dropped so far.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

impl Stream for Changes {
    type Item = Change;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Change>> {
        self.receiver.poll_recv(cx)
    }
}

pub(crate) type Callback = Arc<dyn Fn(&Change) + Send + Sync>;

/// The callbacks and subscribers of changes.
pub(crate) struct Listeners {
    callbacks: Vec<Callback>,
    subscribers: Mutex<Vec<(mpsc::Sender<Change>, Arc<AtomicU64>)>>,
}

impl Listeners {
    pub(crate) fn new(callbacks: Vec<Callback>) -> Self {
        Self {
            callbacks,
            subscribers: Mutex::default(),
        }
    }

    pub(crate) fn subscribe(&self) -> Changes {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let missed = Arc::new(AtomicU64::new(0));
        let mut subscribers = self.subscribers.lock();
        // Here too: without changes, dropped subscribers would pile up.
        subscribers.retain(|(sender, _)| !sender.is_closed());
        subscribers.push((sender, Arc::clone(&missed)));
        Changes { receiver, missed }
    }

    pub(crate) fn notify(&self, change: &Change) {
        log(change);
        for callback in &self.callbacks {
            // The panic hook has reported a panic. The checks go on.
            let _ = catch(|| callback(change));
        }
        let mut subscribers = self.subscribers.lock();
        subscribers.retain(|(sender, missed)| match sender.try_send(change.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                missed.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Closed(_)) => false,
        });
    }
}

fn log(change: &Change) {
    let Change { from, to, report } = change;
    let last = report.last.as_ref();
    let error = last.and_then(|last| last.error.as_deref());
    let detail = last.and_then(|last| last.detail.as_deref());
    // What an error quotes goes through Debug, which escapes line breaks.
    let error = error.map(tracing::field::debug);
    let detail = detail.map(tracing::field::debug);
    let (name, kind) = (&*report.name, report.kind.as_str());
    let (from, to) = (from.as_str(), to.as_str());
    if change.to == Status::Ok {
        tracing::info!(name, kind, from, to, detail, "a health check has changed");
    } else {
        tracing::warn!(
            name,
            kind,
            from,
            to,
            error,
            detail,
            "a health check has changed"
        );
    }
}
