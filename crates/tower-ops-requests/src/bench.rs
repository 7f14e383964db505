//! What `benches/registry.rs` compares with other crates' maps. Not part of the API.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tower_ops_core::shards::Shards;
use tower_ops_observe::{Class, KnownMethod, Outcome, Route};

use crate::history::ring::{FreeList, HistoryClock, Ring};
use crate::record;
use crate::record::kind::Kind;
use crate::record::progress::{End, Progress};
use crate::registry::Ended;
use crate::registry::in_flight::InFlight;
use crate::tracker::RequestTracker;
use crate::tracker::builder::DEFAULT_MAX_HISTORY;

fn fill_in(record: &mut record::Record) {
    record.method = Some(KnownMethod::Get);
    record.early_route = Some(Route::from_static("/users/{id}"));
    let id = b"7b1f6a0e-4f7e-4a3b-9a55-0d6b7c9a1c11";
    record.text.fill(id, "/users/123456");
}

/// What the maps hold.
#[derive(Clone)]
#[allow(missing_debug_implementations, reason = "not part of the API")]
pub struct Record(Arc<record::Record>);

impl Record {
    #[must_use]
    #[allow(clippy::new_without_default, reason = "not part of the API")]
    pub fn new() -> Self {
        let mut record = record::Record::empty();
        record.begin(Kind::Request, 0);
        fill_in(&mut record);
        Self(Arc::new(record))
    }

    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id
    }
}

/// The registry's part of a shard.
#[allow(missing_debug_implementations, reason = "not part of the API")]
pub struct Registry(Shards<InFlight>);

impl Registry {
    #[must_use]
    #[allow(clippy::new_without_default, reason = "not part of the API")]
    pub fn new() -> Self {
        Self(Shards::new(InFlight::new))
    }

    #[must_use]
    pub fn insert(&self, record: &Record) -> (usize, usize) {
        let mine = self.0.mine();
        let record = Arc::clone(&record.0);
        (mine, self.0.lock(mine).insert(record, true))
    }

    pub fn remove(&self, (shard, key): (usize, usize)) {
        let removed = self.0.lock(shard).remove(key);
        drop(removed);
    }
}

/// The history's part of a shard.
#[allow(missing_debug_implementations, reason = "not part of the API")]
pub struct History(Shards<(Ring, FreeList)>, HistoryClock);

impl History {
    #[must_use]
    #[allow(clippy::new_without_default, reason = "not part of the API")]
    pub fn new() -> Self {
        let shards = Shards::new(|| (Ring::new(), FreeList::new()));
        let clock = HistoryClock::new(DEFAULT_MAX_HISTORY, shards.len());
        Self(shards, clock)
    }

    pub fn push(&self, record: &Record) {
        let mine = self.0.mine();
        let mut shard = self.0.lock(mine);
        let (ring, free) = &mut *shard;
        let published = ring.push(Arc::clone(&record.0), &self.1, mine, free);
        drop(shard);
        if let Some(published) = published
            && let Some(neighbour) = self.1.neighbour(published, mine)
            && let Some(mut shard) = self.0.try_lock(neighbour)
        {
            let (ring, free) = &mut *shard;
            ring.trim(published, &self.1, neighbour, free);
        }
    }
}

/// All that the tracker does for one exchange, without the layer around it.
pub fn begin_and_end(tracker: &RequestTracker, now: Instant) {
    let registry = &tracker.inner.registry;
    let (record, slot) = registry.begin(Kind::Request, now, fill_in);
    let ended = Ended {
        end: End {
            outcome: Outcome::Completed,
            class: Class::Success,
            grpc: None,
        },
        duration: Duration::from_micros(100),
    };
    registry.end(&slot, record, Progress::new(Kind::Request), ended);
}

/// Registers so many that never end.
pub fn fill(tracker: &RequestTracker, count: usize) {
    let now = Instant::now();
    for _ in 0..count {
        let _slot = tracker.inner.registry.begin(Kind::Request, now, fill_in);
    }
}
