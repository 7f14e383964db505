use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use crate::history::reservoir::{FAILED, SLOWEST};
use crate::record::Record;
use crate::registry::{Registry, Shard};

impl Registry {
    /// The last endings, the latest first.
    pub(crate) fn history(&self) -> Vec<Arc<Record>> {
        let mut records = self.copy(|shard, records| {
            records.extend(shard.ring.iter().map(Arc::clone));
        });
        sort_latest_first(&mut records);
        records.truncate(self.clock.max());
        records
    }

    /// The slowest requests of the last minutes, the slowest first.
    pub(crate) fn slowest(&self) -> Vec<Arc<Record>> {
        let now = self.now();
        let mut records = self.copy(|shard, records| {
            records.extend(shard.reservoir.slowest(now).map(Arc::clone));
        });
        records.sort_by_cached_key(|record| Reverse(record.duration()));
        records.truncate(SLOWEST);
        records
    }

    /// What failed in the last minutes, the latest first.
    pub(crate) fn failed(&self) -> Vec<Arc<Record>> {
        let now = self.now();
        let mut records = self.copy(|shard, records| {
            records.extend(shard.reservoir.failed(now).map(Arc::clone));
        });
        sort_latest_first(&mut records);
        records.truncate(FAILED);
        records
    }

    /// The last endings, and after them the failed and the slowest that are not among them.
    pub(crate) fn all_kept(&self) -> Vec<Arc<Record>> {
        let mut records = self.history();
        let mut listed: HashSet<u64> = records.iter().map(|record| record.id).collect();
        let mut others = [self.failed(), self.slowest()].concat();
        others.retain(|record| listed.insert(record.id));
        sort_latest_first(&mut others);
        records.extend(others);
        records
    }

    fn copy(&self, take: impl Fn(&mut Shard, &mut Vec<Arc<Record>>)) -> Vec<Arc<Record>> {
        let mut records = Vec::new();
        for place in 0..self.shards.len() {
            take(&mut self.shards.lock(place), &mut records);
        }
        records
    }
}

fn sort_latest_first(records: &mut [Arc<Record>]) {
    records.sort_by_cached_key(|record| Reverse((record.ended(), record.id)));
}
