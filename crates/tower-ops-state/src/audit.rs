//! The audit and the metrics: each attempt once, and nothing of what it was about.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Label};
use tokio::time::Instant;
use tower_ops_core::recorder::{Description, RecorderHandle};

use crate::error::{ErrorKind, StateError};
use crate::restore::Restore;

const SAVE: &str = "state_save_duration_seconds";
const LOAD: &str = "state_load_duration_seconds";
const SIZE: &str = "state_size_bytes";
const OPERATIONS: &str = "state_operations_total";

const DESCRIPTIONS: &[Description] = &[
    Description::histogram(SAVE, "Duration of successful captures"),
    Description::histogram(LOAD, "Duration of successful restores"),
    Description::gauge(SIZE, "Size of the last captured or restored envelope"),
    Description::counter(OPERATIONS, "Captures and restores by operation and outcome"),
];

/// Series that exist before they count, so that a first failure is an increase. Most of the others
/// never count.
const AHEAD: [(Operation, Outcome); 10] = [
    (Operation::Capture, Outcome::Ok),
    (Operation::Capture, Outcome::FAILED),
    (Operation::Capture, Outcome::Unauthorized),
    (Operation::HandOver, Outcome::Ok),
    (Operation::Restore, Outcome::Ok),
    (Operation::Restore, Outcome::FAILED),
    (Operation::Restore, Outcome::Unauthorized),
    (Operation::SaveFile, Outcome::Ok),
    (Operation::SaveFile, Outcome::FAILED),
    (Operation::RestoreFile, Outcome::FAILED),
];

/// Who sent a request, for the audit. Insert it into the extensions of the request, in a layer that
/// knows the client. Without it the audit has no peer.
///
/// # Examples
///
/// ```
/// # use http::Request;
/// use tower_ops_state::Peer;
///
/// # let mut request = Request::new(());
/// # let address = std::net::SocketAddr::from(([192, 0, 2, 7], 4711));
/// request.extensions_mut().insert(Peer::new(address));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer(Arc<str>);

impl Peer {
    /// Makes a peer of an address, or of any text that identifies the client.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "an address is small, and easier to pass by value"
    )]
    pub fn new(peer: impl ToString) -> Self {
        Self(peer.to_string().into())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Capture,
    HandOver,
    Measure,
    Restore,
    DryRun,
    Resume,
    SaveFile,
    RestoreFile,
}

impl Operation {
    pub(crate) const fn of(how: Restore) -> Self {
        if how.dry_run {
            Self::DryRun
        } else {
            Self::Restore
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::HandOver => "hand_over",
            Self::Measure => "measure",
            Self::Restore => "restore",
            Self::DryRun => "dry_run",
            Self::Resume => "resume",
            Self::SaveFile => "save_file",
            Self::RestoreFile => "restore_file",
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Cancelled,
    Unauthorized,
    /// The head of the request was wrong.
    Rejected,
    Error(ErrorKind),
}

impl Outcome {
    pub(crate) const FAILED: Self = Self::Error(ErrorKind::Internal);

    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Cancelled => "cancelled",
            Self::Unauthorized => "unauthorized",
            Self::Rejected => "rejected",
            Self::Error(kind) => match kind {
                ErrorKind::Broken => "broken",
                ErrorKind::Busy | ErrorKind::HandedOver | ErrorKind::NotNow => "conflict",
                ErrorKind::Generation => "generation",
                ErrorKind::TooLarge => "too_large",
                ErrorKind::Refused => "refused",
                ErrorKind::Inconsistent | ErrorKind::Internal => "failed",
                ErrorKind::Unavailable => "unavailable",
                ErrorKind::TimedOut => "timed_out",
            },
        }
    }
}

/// Who attempts it.
#[derive(Clone)]
pub(crate) struct Who {
    /// The name of the token of a request, `nobody`, or `process` for a call.
    token: &'static str,
    peer: Option<Peer>,
}

impl Who {
    /// A call of the application itself.
    pub(crate) const PROCESS: Self = Self {
        token: "process",
        peer: None,
    };

    pub(crate) const fn client(token: Option<&'static str>, peer: Option<Peer>) -> Self {
        let token = match token {
            Some(token) => token,
            None => "nobody",
        };
        Self { token, peer }
    }
}

pub(crate) struct StateMetrics {
    recorder: RecorderHandle,
    save: Histogram,
    load: Histogram,
    size: Gauge,
}

impl StateMetrics {
    pub(crate) fn register(recorder: RecorderHandle) -> Self {
        recorder.describe(DESCRIPTIONS);
        let metrics = Self {
            save: recorder.histogram(SAVE, &[]),
            load: recorder.histogram(LOAD, &[]),
            size: recorder.gauge(SIZE, &[]),
            recorder,
        };
        for (operation, outcome) in AHEAD {
            let _ = metrics.counter(operation, outcome);
        }
        metrics
    }

    fn counter(&self, operation: Operation, outcome: Outcome) -> Counter {
        let labels = [
            Label::from_static_parts("operation", operation.as_str()),
            Label::from_static_parts("outcome", outcome.as_str()),
        ];
        self.recorder.counter(OPERATIONS, &labels)
    }
}

/// One attempt, which is logged and counted exactly once: by the first who knows how it ended, or
/// as cancelled when the last clone is dropped. All clones are the same attempt.
#[derive(Clone)]
pub(crate) struct AuditEntry {
    attempt: Arc<Attempt>,
}

struct Attempt {
    metrics: Arc<StateMetrics>,
    operation: Operation,
    who: Who,
    since: Instant,
    /// The size of the envelope and its digest.
    contents: OnceLock<(u64, String)>,
    is_published: AtomicBool,
}

impl AuditEntry {
    pub(crate) fn new(metrics: &Arc<StateMetrics>, operation: Operation, who: Who) -> Self {
        Self {
            attempt: Arc::new(Attempt {
                metrics: Arc::clone(metrics),
                operation,
                who,
                since: Instant::now(),
                contents: OnceLock::new(),
                is_published: AtomicBool::new(false),
            }),
        }
    }

    pub(crate) fn set_contents(&self, size: u64, digest: &str) {
        let _ = self.attempt.contents.set((size, digest.to_owned()));
    }

    pub(crate) fn end(&self, outcome: Outcome) {
        self.attempt.publish(outcome);
    }

    pub(crate) fn end_with<T>(&self, result: &Result<T, StateError>) {
        self.end(match result {
            Ok(_) => Outcome::Ok,
            Err(error) => Outcome::Error(error.kind()),
        });
    }
}

impl Attempt {
    fn publish(&self, outcome: Outcome) {
        if self.is_published.swap(true, Ordering::AcqRel) {
            return;
        }
        let took = self.since.elapsed();
        let contents = self.contents.get();
        self.count(outcome, took, contents.map(|(size, _)| *size));
        // Never a message: it may quote contents.
        tracing::info!(
            target: "tower_ops_state::audit",
            operation = self.operation.as_str(),
            outcome = outcome.as_str(),
            token = self.who.token,
            peer = self.who.peer.as_ref().map(|peer| &*peer.0),
            size = contents.map(|(size, _)| size),
            digest = contents.map(|(_, digest)| digest.as_str()),
            took = ?took,
            "state"
        );
    }

    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
    fn count(&self, outcome: Outcome, took: Duration, size: Option<u64>) {
        let metrics = &self.metrics;
        metrics.counter(self.operation, outcome).increment(1);
        if outcome != Outcome::Ok {
            return;
        }
        match self.operation {
            Operation::Capture | Operation::HandOver | Operation::SaveFile => {
                metrics.save.record(took);
            }
            Operation::Restore | Operation::RestoreFile => metrics.load.record(took),
            Operation::Measure | Operation::DryRun | Operation::Resume => {}
        }
        if let Some(size) = size {
            metrics.size.set(size as f64);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.publish(Outcome::Cancelled);
    }
}
