use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::FixedState;

use crate::quantiles::{self, Quantiles, Windows};
use crate::text::bounded;

/// The routes and the names of tasks that statistics tell apart: the first so
/// many that came, and `{other}` for the rest.
///
/// A shard asks once for each; what it does then, see
/// [`ShardStats`](crate::shard_stats::ShardStats).
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

/// What becomes of a name that a shard has not seen yet.
pub(crate) enum Claim {
    /// It has its place.
    Told(Arc<RouteStats>),
    /// No more places: these are all that there will ever be.
    Full(Vec<Arc<RouteStats>>),
}

/// The longest name that is told apart, in bytes; a longer one is cut.
pub(crate) const LONGEST_NAME: usize = 256;

impl RouteTable {
    /// What a route takes, at most, whatever number of shards counts it.
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
        let mut known = self.known();
        if let Some(stats) = known[usize::from(is_task)].get(name) {
            return Claim::Told(Arc::clone(stats));
        }
        let count: usize = known.iter().map(HashMap::len).sum();
        if count >= self.max {
            let all = known.iter().flat_map(|names| names.values().cloned());
            return Claim::Full(all.collect());
        }
        let stats = Arc::new(RouteStats::new(name, is_task, now));
        known[usize::from(is_task)].insert(Arc::clone(&stats.name), Arc::clone(&stats));
        Claim::Told(stats)
    }

    fn known(&self) -> MutexGuard<'_, [Names<Arc<RouteStats>>; 2]> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.windows().record(now, samples);
    }

    pub(crate) fn quantiles(&self, now: u64, unrecorded: &[u32]) -> Option<Quantiles> {
        self.windows().quantiles(now, unrecorded)
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
