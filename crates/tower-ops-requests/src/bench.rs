//! The parts, for the benchmark beside other crates' maps. Not part of the API.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tower_ops_observe::{Class, KnownMethod, Route};

use crate::builder::DEFAULT_MAX_HISTORY;
use crate::history::{Pace, Ring, Spare};
use crate::live::Live;
use crate::outcome::{Kind, TrackedOutcome};
use crate::progress::{End, Progress};
use crate::record;
use crate::registry::Ended;
use crate::shards::Shards;
use crate::tracker::RequestTracker;

fn fill_in(record: &mut record::Record) {
    record.method = Some(KnownMethod::Get);
    record.early_route = Some(Route::from_static("/users/{id}"));
    let id = b"7b1f6a0e-4f7e-4a3b-9a55-0d6b7c9a1c11";
    record.texts.fill(id, "/users/123456");
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
pub struct Registry(Shards<Live>);

impl Registry {
    #[must_use]
    #[allow(clippy::new_without_default, reason = "not part of the API")]
    pub fn new() -> Self {
        Self(Shards::new(Live::new))
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
pub struct History(Shards<(Ring, Spare)>, Pace);

impl History {
    #[must_use]
    #[allow(clippy::new_without_default, reason = "not part of the API")]
    pub fn new() -> Self {
        let shards = Shards::new(|| (Ring::new(), Spare::new()));
        let pace = Pace::new(DEFAULT_MAX_HISTORY, shards.len());
        Self(shards, pace)
    }

    pub fn push(&self, record: &Record) {
        let mine = self.0.mine();
        let mut shard = self.0.lock(mine);
        let (ring, spare) = &mut *shard;
        let told = ring.push(Arc::clone(&record.0), &self.1, mine, spare);
        drop(shard);
        if let Some(told) = told
            && let Some(ward) = self.1.ward(told, mine)
            && let Some(mut shard) = self.0.try_lock(ward)
        {
            let (ring, spare) = &mut *shard;
            ring.trim(told, &self.1, ward, spare);
        }
    }
}

/// A whole exchange's dealings with the tracker, without the layer around it.
pub fn begin_and_end(tracker: &RequestTracker, now: Instant) {
    let registry = &tracker.inner.registry;
    let (record, seat) = registry.begin(Kind::Request, now, fill_in);
    let ended = Ended {
        end: End {
            outcome: TrackedOutcome::Completed,
            class: Class::Success,
            grpc: None,
        },
        duration: Duration::from_micros(100),
    };
    registry.end(&seat, record, Progress::new(Kind::Request), ended);
}

/// Puts so many into the tracker, for good.
pub fn fill(tracker: &RequestTracker, count: usize) {
    let now = Instant::now();
    for _ in 0..count {
        let _seat = tracker.inner.registry.begin(Kind::Request, now, fill_in);
    }
}
