//! The audit and the metrics: each attempt once, and nothing of what it was about.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use metrics::{Counter, Label};
use tokio::time::Instant;
use tower_ops_core::recorder::{Description, RecorderHandle};

use crate::error::StateResult;

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
const AHEAD: &[(Operation, &[Outcome])] = &[
    (Operation::CAPTURE, REQUESTED),
    (Operation::HAND_OVER, &[Outcome::OK]),
    (Operation::RESTORE, REQUESTED),
    (Operation::SAVE_FILE, &[Outcome::OK, Outcome::FAILED]),
    (Operation::RESTORE_FILE, &[Outcome::FAILED]),
];
const REQUESTED: &[Outcome] = &[Outcome::OK, Outcome::FAILED, Outcome::UNAUTHORIZED];

/// Who sent a request, for the audit. Insert it into the extensions of the request, in a layer that
/// knows the client. Without it the audit has no peer.
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

/// What is attempted: its name, and the histogram of its duration.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operation(&'static str, Option<&'static str>);

impl Operation {
    pub(crate) const CAPTURE: Self = Self("capture", Some(SAVE));
    pub(crate) const HAND_OVER: Self = Self("hand_over", Some(SAVE));
    pub(crate) const MEASURE: Self = Self("measure", None);
    pub(crate) const RESTORE: Self = Self("restore", Some(LOAD));
    pub(crate) const DRY_RUN: Self = Self("dry_run", None);
    pub(crate) const RESUME: Self = Self("resume", None);
    pub(crate) const SAVE_FILE: Self = Self("save_file", Some(SAVE));
    pub(crate) const RESTORE_FILE: Self = Self("restore_file", Some(LOAD));
}

/// How an attempt ended, by name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome(pub(crate) &'static str);

impl Outcome {
    pub(crate) const OK: Self = Self("ok");
    pub(crate) const CANCELLED: Self = Self("cancelled");
    pub(crate) const UNAUTHORIZED: Self = Self("unauthorized");
    /// The head of the request was wrong.
    pub(crate) const REJECTED: Self = Self("rejected");
    pub(crate) const TIMED_OUT: Self = Self("timed_out");
    pub(crate) const FAILED: Self = Self("failed");
}

pub(crate) fn register(recorder: &RecorderHandle) {
    recorder.describe(DESCRIPTIONS);
    for name in [SAVE, LOAD] {
        let _ = recorder.histogram(name, &[]);
    }
    let _ = recorder.gauge(SIZE, &[]);
    for (operation, outcomes) in AHEAD {
        for outcome in *outcomes {
            let _ = counter(recorder, *operation, *outcome);
        }
    }
}

fn counter(recorder: &RecorderHandle, operation: Operation, outcome: Outcome) -> Counter {
    let labels = [
        Label::from_static_parts("operation", operation.0),
        Label::from_static_parts("outcome", outcome.0),
    ];
    recorder.counter(OPERATIONS, &labels)
}

/// One attempt, which is logged and counted exactly once: by the first who knows how it ended, or
/// as cancelled when the last clone is dropped. All clones are the same attempt.
#[derive(Clone)]
pub(crate) struct AuditEntry(Arc<Attempt>);

struct Attempt {
    recorder: RecorderHandle,
    operation: Operation,
    token: &'static str,
    peer: Option<Peer>,
    since: Instant,
    /// The size of the envelope and its digest.
    contents: OnceLock<(u64, String)>,
    is_published: AtomicBool,
}

impl AuditEntry {
    /// `token` is the name of the token that the client has, `nobody`, or `process` for a call of
    /// the application itself.
    pub(crate) fn new(
        recorder: &RecorderHandle,
        operation: Operation,
        token: &'static str,
        peer: Option<Peer>,
    ) -> Self {
        Self(Arc::new(Attempt {
            recorder: recorder.clone(),
            operation,
            token,
            peer,
            since: Instant::now(),
            contents: OnceLock::new(),
            is_published: AtomicBool::new(false),
        }))
    }

    pub(crate) fn set_contents(&self, size: u64, digest: &str) {
        let _ = self.0.contents.set((size, digest.to_owned()));
    }

    pub(crate) fn end(&self, outcome: Outcome) {
        self.0.publish(outcome);
    }

    /// Ends with the result of the work.
    pub(crate) async fn watch<T>(
        &self,
        work: impl Future<Output = StateResult<T>>,
    ) -> StateResult<T> {
        let result = work.await;
        self.end_with(&result);
        result
    }

    pub(crate) fn end_with<T>(&self, result: &StateResult<T>) {
        let error = result.as_ref().err();
        self.end(error.map_or(Outcome::OK, |error| error.kind().outcome()));
    }
}

impl Attempt {
    fn publish(&self, outcome: Outcome) {
        if self.is_published.swap(true, Ordering::AcqRel) {
            return;
        }
        let took = self.since.elapsed();
        let (size, digest) = self.contents.get().map(|(size, it)| (*size, &**it)).unzip();
        counter(&self.recorder, self.operation, outcome).increment(1);
        if outcome == Outcome::OK {
            if let Some(histogram) = self.operation.1 {
                self.recorder.histogram(histogram, &[]).record(took);
            }
            if let Some(size) = size {
                #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
                self.recorder.gauge(SIZE, &[]).set(size as f64);
            }
        }
        // Never a message: it may quote contents.
        tracing::info!(
            target: "tower_ops_state::audit",
            operation = self.operation.0,
            outcome = outcome.0,
            token = self.token,
            peer = self.peer.as_ref().map(|peer| &*peer.0),
            size,
            digest,
            took = ?took,
            "state"
        );
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.publish(Outcome::CANCELLED);
    }
}
