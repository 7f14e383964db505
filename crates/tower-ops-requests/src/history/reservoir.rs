use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::record::Record;
use crate::two_windows::{TwoWindows, WINDOW};

/// How many of the slowest, of five minutes, a shard keeps.
pub(crate) const SLOWEST: usize = 16;
/// How many of the failed a shard keeps.
pub(crate) const FAILED: usize = 64;

/// What one shard keeps apart from its ring: the slowest of the last five to ten minutes, and the
/// last that failed in ten. See [`history`](crate::history).
pub(crate) struct Reservoir {
    /// With their durations; the slowest first.
    slowest: TwoWindows<Vec<(u64, Arc<Record>)>>,
    /// With the time at which they failed.
    failed: VecDeque<(u64, Arc<Record>)>,
}

impl Reservoir {
    /// The most records that one holds.
    pub(crate) const MOST_RECORDS: usize = 2 * SLOWEST + FAILED;
    /// The most bytes of its own buffers on the heap.
    pub(crate) const MOST_BYTES: usize =
        2 * (2 * SLOWEST + FAILED) * size_of::<(u64, Arc<Record>)>();

    pub(crate) fn new(now: u64) -> Self {
        Self {
            slowest: TwoWindows::new(now),
            failed: VecDeque::new(),
        }
    }

    /// Keeps a request's record if it is one of the slowest.
    pub(crate) fn offer_slow(&mut self, record: &Arc<Record>, duration: u64, now: u64) {
        self.slowest.turn(now);
        let slowest = &mut self.slowest.current;
        if slowest.len() < SLOWEST {
            slowest.push((duration, Arc::clone(record)));
        } else if let Some(least) = slowest.last_mut()
            && duration > least.0
        {
            *least = (duration, Arc::clone(record));
        } else {
            return;
        }
        // The fastest of them is the last, where the next one is compared.
        slowest.sort_by_key(|(duration, _)| Reverse(*duration));
    }

    pub(crate) fn push_failed(&mut self, record: &Arc<Record>, now: u64) {
        self.drop_old_failures(now);
        if self.failed.len() == FAILED {
            self.failed.pop_front();
        }
        self.failed.push_back((now, Arc::clone(record)));
    }

    pub(crate) fn slowest(&mut self, now: u64) -> impl Iterator<Item = &Arc<Record>> {
        self.slowest.turn(now);
        let all = self.slowest.current.iter().chain(&self.slowest.previous);
        all.map(|(_, record)| record)
    }

    pub(crate) fn failed(&mut self, now: u64) -> impl Iterator<Item = &Arc<Record>> {
        self.drop_old_failures(now);
        self.failed.iter().map(|(_, record)| record)
    }

    fn drop_old_failures(&mut self, now: u64) {
        let old = |at: u64| now.saturating_sub(at) >= 2 * WINDOW;
        while self.failed.front().is_some_and(|(at, _)| old(*at)) {
            self.failed.pop_front();
        }
    }
}
