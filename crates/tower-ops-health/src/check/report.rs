use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Measurement;
use crate::status::{CheckKind, Status};

/// Why a run counts as a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureReason {
    /// The check returned that it is down.
    Down,
    /// It took longer than its timeout.
    Timeout,
    /// It panicked.
    Panic,
    /// It was due, and an earlier run had not ended.
    StillRunning,
}

impl FailureReason {
    /// Returns the word for it in metrics: `down`, `timeout`, `panic` or `still_running`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
            Self::StillRunning => "still_running",
        }
    }
}

/// The status of a check, and what its last run has found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The check's name.
    pub name: Arc<str>,
    /// What its failure means.
    pub kind: CheckKind,
    /// Its status, by its thresholds and the age of its last result.
    pub status: Status,
    /// The groups that it is in.
    pub groups: Vec<Arc<str>>,
    /// The routes that are of no use while it is down.
    pub routes: Vec<Arc<str>>,
    /// What its last run found. `None` before the first has ended.
    pub last: Option<LastRun>,
    /// When the present failures began.
    pub first_failure: Option<SystemTime>,
    /// How many runs in a row have ended like the last.
    pub streak: u32,
    /// How many runs have ended.
    pub runs: u64,
    /// How many of them failed.
    pub failures: u64,
}

impl Report {
    /// Returns about how many bytes it has when it is rendered with everything.
    pub(crate) fn rendered_size(&self) -> usize {
        /// The names of members, numbers and times.
        const FIXED: usize = 384;
        let names = self.groups.iter().chain(&self.routes);
        let words = self
            .last
            .iter()
            .flat_map(|last| [&last.detail, &last.error]);
        let words = words.flatten().map(|words| escaped_size(words));
        let names: usize = names.map(|name| name.len() + 3).sum();
        FIXED + 2 * self.name.len() + names + words.sum::<usize>()
    }
}

/// Returns how many bytes a text has at most in JSON, or escaped for a line.
fn escaped_size(text: &str) -> usize {
    let bytes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\'' => 2,
        0..0x20 | 0x7f => 6,
        0x80.. => 4,
        _ => 1,
    });
    bytes.sum()
}

/// What the last run of a check has found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LastRun {
    /// Its status, without thresholds: ok, degraded or down.
    pub status: Status,
    /// Why it counts as a failure, if it does.
    pub reason: Option<FailureReason>,
    /// A remark.
    pub detail: Option<Cow<'static, str>>,
    /// What is wrong.
    pub error: Option<Cow<'static, str>>,
    /// What was measured.
    pub value: Option<Measurement>,
    /// How long it took.
    pub latency: Duration,
    /// When it ended, by the wall clock.
    pub checked_at: SystemTime,
    /// How long ago that is.
    pub age: Duration,
}
