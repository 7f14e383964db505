use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::report::Report;
use crate::status::Status;

/// How many changes wait for a subscriber that does not come for them.
const CAPACITY: usize = 256;

/// A check's status has changed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Change {
    /// What it was.
    pub from: Status,
    /// What it is.
    pub to: Status,
    /// How the check stands now, with its name.
    pub report: Report,
}

/// The changes of all checks, in order. Made by [`Health::changes`](crate::Health::changes).
///
/// As a `Stream` it ends with the last handle of the [`Health`](crate::Health). Up to 256
/// changes wait; what does not find room is counted in [`missed`](Self::missed).
#[derive(Debug)]
pub struct Changes {
    receiver: mpsc::Receiver<Change>,
    missed: Arc<AtomicU64>,
}

impl Changes {
    /// The next change; `None` once there cannot be another.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no change is lost.
    pub async fn next(&mut self) -> Option<Change> {
        self.receiver.recv().await
    }

    /// How many changes found no room, so far.
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

/// Everybody who is told of changes.
#[derive(Default)]
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
        let mut subscribers = self
            .subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Here too, or who subscribes often to what never changes would fill it up.
        subscribers.retain(|(sender, _)| !sender.is_closed());
        subscribers.push((sender, Arc::clone(&missed)));
        Changes { receiver, missed }
    }

    pub(crate) fn tell(&self, change: &Change) {
        log(change);
        for callback in &self.callbacks {
            // The panic was reported by its hook; the checks go on.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(change)));
        }
        let mut subscribers = self
            .subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
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

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners").finish_non_exhaustive()
    }
}

fn log(change: &Change) {
    let Change { from, to, report } = change;
    let last = report.last.as_ref();
    let error = last.and_then(|last| last.error.as_deref());
    let detail = last.and_then(|last| last.detail.as_deref());
    // A counterpart's words go through Debug, which escapes line breaks.
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
