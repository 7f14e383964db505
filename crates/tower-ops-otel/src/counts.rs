//! What became of the spans: exact, and there from 0.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Label};
use tower_ops_core::recorder::{Description, RecorderHandle};

const EXPORTED: &str = "tower_ops_spans_exported_total";
const DROPPED: &str = "tower_ops_spans_dropped_total";

/// Why something was not exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropReason {
    /// The queue was full: the collector is slower than what comes, or away.
    QueueFull,
    /// The collector could not be reached, or answered with an error.
    ExportFailed,
    /// The collector did not answer in time.
    Timeout,
    /// The collector took the batch and refused a part of it.
    Rejected,
    /// It was still there when the time for the shutdown was over, or came later.
    Shutdown,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::QueueFull,
        Self::ExportFailed,
        Self::Timeout,
        Self::Rejected,
        Self::Shutdown,
    ];

    /// The reason as the metric's label has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::ExportFailed => "export_failed",
            Self::Timeout => "timeout",
            Self::Rejected => "rejected",
            Self::Shutdown => "shutdown",
        }
    }
}

/// How many were exported and how many were not.
///
/// Once nothing waits any more, their sum is what was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportCounts {
    /// The collector has them, or the console.
    pub exported: u64,
    dropped: [u64; DropReason::ALL.len()],
}

impl ExportCounts {
    /// How many were dropped for that reason.
    #[must_use]
    pub const fn dropped_by(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// How many were dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }
}

/// The counts of one signal.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    exported: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    /// Where they are published: at the start, and later. Both may be the same place.
    published: [OnceLock<Published>; 2],
}

#[derive(Debug)]
struct Published {
    exported: Counter,
    dropped: [Counter; DropReason::ALL.len()],
}

impl Counts {
    pub(crate) fn exported(&self, by: u64) {
        let total = self.exported.fetch_add(by, Ordering::Relaxed) + by;
        for published in self.published.iter().filter_map(OnceLock::get) {
            // Sets what is the greater: a late thread does not set it back.
            published.exported.absolute(total);
        }
    }

    pub(crate) fn dropped(&self, reason: DropReason, by: u64) {
        let total = self.dropped[reason as usize].fetch_add(by, Ordering::Relaxed) + by;
        for published in self.published.iter().filter_map(OnceLock::get) {
            published.dropped[reason as usize].absolute(total);
        }
    }

    pub(crate) fn snapshot(&self) -> ExportCounts {
        ExportCounts {
            exported: self.exported.load(Ordering::Relaxed),
            dropped: self
                .dropped
                .each_ref()
                .map(|count| count.load(Ordering::Relaxed)),
        }
    }

    /// Publishes the counts as the metrics of spans, when the telemetry starts.
    pub(crate) fn publish_at_start(&self, recorder: &RecorderHandle) {
        self.publish(0, recorder);
    }

    /// Publishes the counts as the metrics of spans, for a recorder that comes later. The first one
    /// keeps them.
    pub(crate) fn publish_later(&self, recorder: &RecorderHandle) {
        self.publish(1, recorder);
    }

    fn publish(&self, place: usize, recorder: &RecorderHandle) {
        self.published[place].get_or_init(|| {
            recorder.describe(&[
                Description::counter(EXPORTED, "Spans that were exported"),
                Description::counter(DROPPED, "Spans that were made and not exported, by reason"),
            ]);
            Published {
                exported: recorder.counter(EXPORTED, &[]),
                dropped: DropReason::ALL.map(|reason| {
                    let label = Label::from_static_parts("reason", reason.as_str());
                    recorder.counter(DROPPED, &[label])
                }),
            }
        });
        // With what was counted before, and also 0, so that the series are there.
        self.exported(0);
        for reason in DropReason::ALL {
            self.dropped(reason, 0);
        }
    }
}
