use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use tower_ops_core::sync::Mutex;

use crate::record::inline_text::bounded;
use crate::stats::quantiles::{self, Quantiles, Windows};

/// The routes and the names of tasks that have statistics of their own: the first so many that
/// came. All others are counted as `{other}`.
///
/// A shard asks once for each name. See [`ShardStats`](crate::stats::shard_stats::ShardStats).
pub(crate) struct RouteTable {
    max: usize,
    /// By whether it is a task.
    known: Mutex<[Names<Arc<RouteStats>>; 2]>,
    other: Arc<RouteStats>,
}

// The hash needs no seed, since no client chooses what is inserted.
pub(crate) type Names<T> = HashMap<Arc<str>, T, FixedState>;

/// One route, or one name of tasks.
pub(crate) struct RouteStats {
    pub(crate) name: Arc<str>,
    pub(crate) is_task: bool,
    windows: Mutex<Windows>,
}

/// The answer to a shard that has not seen a name yet.
pub(crate) enum Claim {
    /// The name has statistics of its own.
    Own(Arc<RouteStats>),
    /// The table is full. These are all that there will ever be.
    Full(Vec<Arc<RouteStats>>),
}

/// The longest name that is kept, in bytes; a longer one is cut.
pub(crate) const LONGEST_NAME: usize = 256;

impl RouteTable {
    /// The most bytes of one route, however many shards count it.
    pub(crate) const MOST_BYTES_BY_ROUTE: usize = quantiles::MOST_BYTES
        + size_of::<RouteStats>()
        + LONGEST_NAME
        + 4 * (size_of::<(Arc<str>, Arc<RouteStats>)>() + 1)
        + 64;

    pub(crate) fn new(max: usize, now: u64) -> Self {
        Self {
            max,
            known: Mutex::default(),
            other: Arc::new(RouteStats::new("{other}", false, now)),
        }
    }

    pub(crate) const fn other(&self) -> &Arc<RouteStats> {
        &self.other
    }

    pub(crate) fn claim(&self, name: &str, is_task: bool, now: u64) -> Claim {
        let mut known = self.known.lock();
        if let Some(stats) = known[usize::from(is_task)].get(name) {
            return Claim::Own(Arc::clone(stats));
        }
        let count: usize = known.iter().map(HashMap::len).sum();
        if count >= self.max {
            let all = known.iter().flat_map(|names| names.values().cloned());
            return Claim::Full(all.collect());
        }
        let stats = Arc::new(RouteStats::new(name, is_task, now));
        known[usize::from(is_task)].insert(Arc::clone(&stats.name), Arc::clone(&stats));
        Claim::Own(stats)
    }
}

impl RouteStats {
    fn new(name: &str, is_task: bool, now: u64) -> Self {
        Self {
            name: bounded(name, LONGEST_NAME).into(),
            is_task,
            windows: Mutex::new(Windows::new(now)),
        }
    }

    pub(crate) fn record(&self, now: u64, samples: &[u32]) {
        self.windows.lock().record(now, samples);
    }

    pub(crate) fn quantiles(&self, now: u64, unrecorded: &[u32]) -> Option<Quantiles> {
        self.windows.lock().quantiles(now, unrecorded)
    }
}
