use std::collections::VecDeque;
use std::sync::Arc;

use crate::record::{Record, SECOND};

/// How many of the slowest, of five minutes, a shard keeps.
pub(crate) const SLOWEST: usize = 16;
/// How many of the failed a shard keeps.
pub(crate) const FAILED: usize = 64;

const WINDOW: u64 = 5 * 60 * SECOND;

/// What one shard keeps apart from its ring, so that a burst of successes does
/// not wash it out: the slowest and the last that failed, of five to ten minutes.
///
/// As every shard keeps as many as are shown, those shown are the right ones.
pub(crate) struct Reservoir {
    since: u64,
    slowest: Vec<(u64, Arc<Record>)>,
    slowest_before: Vec<(u64, Arc<Record>)>,
    failed: VecDeque<(u64, Arc<Record>)>,
}

impl Reservoir {
    /// Records that one holds at most.
    pub(crate) const MOST_RECORDS: usize = 2 * SLOWEST + FAILED;
    /// What it takes for itself, on the heap, at most.
    pub(crate) const MOST_BYTES: usize =
        2 * (2 * SLOWEST + FAILED) * size_of::<(u64, Arc<Record>)>();

    pub(crate) const fn new(now: u64) -> Self {
        Self {
            since: now,
            slowest: Vec::new(),
            slowest_before: Vec::new(),
            failed: VecDeque::new(),
        }
    }

    /// Takes a request's record, if it is slow enough.
    pub(crate) fn offer_slow(&mut self, record: &Arc<Record>, duration: u64, now: u64) {
        self.turn(now);
        if self.slowest.len() < SLOWEST {
            self.slowest.push((duration, Arc::clone(record)));
        } else if let Some(least) = self.slowest.last_mut()
            && duration > least.0
        {
            *least = (duration, Arc::clone(record));
        } else {
            return;
        }
        // The fastest of them last, where the next one is compared.
        self.slowest
            .sort_by_key(|(duration, _)| std::cmp::Reverse(*duration));
    }

    pub(crate) fn push_failed(&mut self, record: &Arc<Record>, now: u64) {
        self.drop_old_failures(now);
        if self.failed.len() == FAILED {
            self.failed.pop_front();
        }
        self.failed.push_back((now, Arc::clone(record)));
    }

    pub(crate) fn slowest(&mut self, now: u64) -> impl Iterator<Item = &Arc<Record>> {
        self.turn(now);
        let all = self.slowest.iter().chain(&self.slowest_before);
        all.map(|(_, record)| record)
    }

    pub(crate) fn failed(&mut self, now: u64) -> impl Iterator<Item = &Arc<Record>> {
        self.drop_old_failures(now);
        self.failed.iter().map(|(_, record)| record)
    }

    fn turn(&mut self, now: u64) {
        let passed = now.saturating_sub(self.since);
        if passed < WINDOW {
            return;
        }
        self.slowest_before = std::mem::take(&mut self.slowest);
        if passed >= 2 * WINDOW {
            self.slowest_before.clear();
        }
        self.since = now;
    }

    fn drop_old_failures(&mut self, now: u64) {
        let old = |at: u64| now.saturating_sub(at) >= 2 * WINDOW;
        while self.failed.front().is_some_and(|(at, _)| old(*at)) {
            self.failed.pop_front();
        }
    }
}
