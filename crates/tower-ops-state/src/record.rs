use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::time::Instant;
use tower_ops_core::http::UsedToken;

use crate::error::{ErrorKind, StateError};
use crate::metrics::StateMetrics;
use crate::token::Shown;

/// What somebody attempts.
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
    pub(crate) const ALL: [Self; 8] = [
        Self::Capture,
        Self::HandOver,
        Self::Measure,
        Self::Restore,
        Self::DryRun,
        Self::Resume,
        Self::SaveFile,
        Self::RestoreFile,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
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
    Rejected,
    Broken,
    Conflict,
    Generation,
    TooLarge,
    Refused,
    Unavailable,
    TimedOut,
    Failed,
}

impl Outcome {
    pub(crate) const ALL: [Self; 12] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unauthorized,
        Self::Rejected,
        Self::Broken,
        Self::Conflict,
        Self::Generation,
        Self::TooLarge,
        Self::Refused,
        Self::Unavailable,
        Self::TimedOut,
        Self::Failed,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Cancelled => "cancelled",
            Self::Unauthorized => "unauthorized",
            Self::Rejected => "rejected",
            Self::Broken => "broken",
            Self::Conflict => "conflict",
            Self::Generation => "generation",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed_out",
            Self::Failed => "failed",
        }
    }
}

impl From<&StateError> for Outcome {
    fn from(error: &StateError) -> Self {
        match error.kind() {
            ErrorKind::Broken => Self::Broken,
            ErrorKind::Busy | ErrorKind::HandedOver | ErrorKind::NotNow => Self::Conflict,
            ErrorKind::Generation => Self::Generation,
            ErrorKind::TooLarge => Self::TooLarge,
            ErrorKind::Refused => Self::Refused,
            ErrorKind::Inconsistent | ErrorKind::Internal => Self::Failed,
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::TimedOut => Self::TimedOut,
        }
    }
}

/// Who attempts it.
#[derive(Clone, Default)]
pub(crate) struct Who {
    pub(crate) token: Option<Shown>,
    pub(crate) peer: Option<String>,
    /// Not by a request at all.
    pub(crate) is_process: bool,
}

impl Who {
    pub(crate) fn process() -> Self {
        Self {
            is_process: true,
            ..Self::default()
        }
    }
}

/// One attempt, written down exactly once: by whoever knows first how it ended, or as
/// cancelled when nobody is left who could know. Its clones are the same attempt.
#[derive(Clone)]
pub(crate) struct Record {
    shared: Arc<Shared>,
}

struct Shared {
    metrics: Arc<StateMetrics>,
    operation: Operation,
    who: Who,
    since: Instant,
    contents: OnceLock<(u64, String)>,
    is_written: AtomicBool,
}

impl Record {
    pub(crate) fn new(metrics: &Arc<StateMetrics>, operation: Operation, who: Who) -> Self {
        Self {
            shared: Arc::new(Shared {
                metrics: Arc::clone(metrics),
                operation,
                who,
                since: Instant::now(),
                contents: OnceLock::new(),
                is_written: AtomicBool::new(false),
            }),
        }
    }

    /// Which token was shown.
    pub(crate) fn token(&self) -> Option<UsedToken> {
        let token = self.shared.who.token?;
        Some(UsedToken::new(token.as_str()))
    }

    /// What it is about: so many bytes with that digest.
    pub(crate) fn contents(&self, size: u64, digest: &str) {
        let _ = self.shared.contents.set((size, digest.to_owned()));
    }

    pub(crate) fn end(&self, outcome: Outcome) {
        self.shared.write(outcome);
    }

    pub(crate) fn end_with<T>(&self, result: &Result<T, StateError>) {
        self.end(result.as_ref().err().map_or(Outcome::Ok, Outcome::from));
    }
}

impl Shared {
    fn write(&self, outcome: Outcome) {
        if self.is_written.swap(true, Ordering::AcqRel) {
            return;
        }
        let took = self.since.elapsed();
        self.metrics.ended(self.operation, outcome, took);
        let (size, digest) = match self.contents.get() {
            Some((size, digest)) => (Some(*size), Some(digest.as_str())),
            None => (None, None),
        };
        if let (Some(size), Outcome::Ok) = (size, outcome) {
            self.metrics.set_size(size);
        }
        let who = match self.who.token {
            Some(token) => token.as_str(),
            None if self.who.is_process => "process",
            None => "nobody",
        };
        // Never a message: it may quote contents.
        tracing::info!(
            target: "tower_ops_state::audit",
            operation = self.operation.as_str(),
            outcome = outcome.as_str(),
            token = who,
            peer = self.who.peer.as_deref(),
            size,
            digest,
            took = ?took,
            "state"
        );
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.write(Outcome::Cancelled);
    }
}
