//! How many lines were lost, by level.

use std::array;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Label};
use tower_ops_core::recorder::{Description, RecorderHandle};
use tracing::Level;

const NAME: &str = "tower_ops_log_lines_dropped_total";

/// All levels, the most severe first.
pub(crate) const LEVELS: [Level; 5] = [
    Level::ERROR,
    Level::WARN,
    Level::INFO,
    Level::DEBUG,
    Level::TRACE,
];

/// Returns the place of a level among all.
pub(crate) const fn index(level: Level) -> usize {
    match level {
        Level::ERROR => 0,
        Level::WARN => 1,
        Level::INFO => 2,
        Level::DEBUG => 3,
        Level::TRACE => 4,
    }
}

/// The lines that were dropped or could not be written.
#[derive(Default)]
pub(crate) struct Losses {
    lost: [AtomicU64; 5],
    counters: OnceLock<[Counter; 5]>,
}

impl Losses {
    #[cold]
    pub(crate) fn add(&self, level: Level, lines: u64) {
        let index = index(level);
        let lost = self.lost[index].fetch_add(lines, Ordering::Relaxed) + lines;
        if let Some(counters) = self.counters.get() {
            counters[index].absolute(lost);
        }
    }

    pub(crate) fn of(&self, level: Level) -> u64 {
        self.lost[index(level)].load(Ordering::Relaxed)
    }

    pub(crate) fn all(&self) -> [u64; 5] {
        array::from_fn(|index| self.lost[index].load(Ordering::Relaxed))
    }

    /// Counts in a recorder from now on, what was lost before included.
    pub(crate) fn register(&self, recorder: &RecorderHandle) {
        let help = "Log lines that were dropped since the queue was full, or could not be written";
        recorder.describe(&[Description::counter(NAME, help)]);
        let counters = counters(recorder);
        let counters = self.counters.get_or_init(|| counters);
        self.count(counters);
    }

    /// Counts in the process's recorder, if no other one was registered.
    pub(crate) fn publish(&self) {
        if self.counters.get().is_none() {
            self.count(&counters(&RecorderHandle::default()));
        }
    }

    fn count(&self, counters: &[Counter; 5]) {
        for (counter, lost) in counters.iter().zip(&self.lost) {
            counter.absolute(lost.load(Ordering::Relaxed));
        }
    }
}

fn counters(recorder: &RecorderHandle) -> [Counter; 5] {
    LEVELS.map(|level| {
        let name = match level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        recorder.counter(NAME, &[Label::from_static_parts("level", name)])
    })
}
