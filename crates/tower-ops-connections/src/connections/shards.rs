use std::sync::{Mutex, MutexGuard, PoisonError};

use slab::Slab;

use crate::Connection;

/// A connection in the list, and what the reaper knows without looking at it: at a
/// million of them, to look costs more than anything else.
pub(crate) struct Entry {
    pub(crate) connection: Connection,
    /// Until when it need not be looked at, in microseconds.
    pub(crate) look: u64,
    /// Whether nothing was in flight when it was looked at.
    pub(crate) idle: bool,
    /// The number of its listener.
    pub(crate) listener: usize,
}

/// Every connection that is open, in shards of their own locks: 64, so that a pass
/// over a million of them holds none for longer than a fraction of a millisecond.
pub(crate) struct Shards {
    shards: Box<[Mutex<Slab<Entry>>]>,
}

pub(crate) const SHARDS: usize = 64;

impl Shards {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Where a connection stands follows from its number.
    fn shard(&self, id: u64) -> MutexGuard<'_, Slab<Entry>> {
        self.lock(usize::try_from(id % SHARDS as u64).unwrap_or_default())
    }

    pub(crate) fn lock(&self, index: usize) -> MutexGuard<'_, Slab<Entry>> {
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, connection: Connection, look: u64) -> usize {
        let id = connection.id();
        let listener = connection.record.listener.index;
        self.shard(id).insert(Entry {
            connection,
            look,
            idle: true,
            listener,
        })
    }

    pub(crate) fn remove(&self, id: u64, key: usize) -> Connection {
        self.shard(id).remove(key).connection
    }

    /// Looks through one shard: an operator who closes a connection by hand can
    /// wait for that, and no connection pays for a map.
    pub(crate) fn find(&self, id: u64) -> Option<Connection> {
        let shard = self.shard(id);
        let mut all = shard.iter().map(|(_, listing)| &listing.connection);
        all.find(|connection| connection.id() == id).cloned()
    }

    /// Those at the time when their shard is looked at.
    pub(crate) fn all(&self) -> impl Iterator<Item = Connection> {
        (0..SHARDS).flat_map(|index| {
            let shard = self.lock(index);
            let found: Vec<_> = shard.iter().map(|(_, it)| it.connection.clone()).collect();
            found
        })
    }
}
