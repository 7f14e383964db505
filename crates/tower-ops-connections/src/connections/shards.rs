use std::sync::MutexGuard;

use slab::Slab;
use tower_ops_core::sync::Mutex;

use crate::Connection;

/// An open connection, and what the reaper knows without a look at its record: at a million
/// connections, those looks cost more than anything else.
pub(crate) struct Entry {
    pub(crate) connection: Connection,
    /// When the reaper has to look at the record next, in microseconds.
    pub(crate) look: u64,
    /// Whether nothing was in flight at the last look.
    pub(crate) idle: bool,
    /// The index of its listener.
    pub(crate) listener: usize,
}

/// Every open connection, in shards with a lock each. There are enough of them that a pass over a
/// million connections holds no lock for longer than a fraction of a millisecond.
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

    /// Locks the shard of a connection, which follows from its id.
    fn shard(&self, id: u64) -> MutexGuard<'_, Slab<Entry>> {
        self.lock(usize::try_from(id % SHARDS as u64).unwrap_or_default())
    }

    pub(crate) fn lock(&self, index: usize) -> MutexGuard<'_, Slab<Entry>> {
        self.shards[index].lock()
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

    /// Searches one shard. Only operators look for an id, so that no connection pays for a map.
    pub(crate) fn find(&self, id: u64) -> Option<Connection> {
        let shard = self.shard(id);
        let mut all = shard.iter().map(|(_, entry)| &entry.connection);
        all.find(|connection| connection.id() == id).cloned()
    }

    /// Returns the connections that are open when their shard is locked, one shard after the other.
    pub(crate) fn all(&self) -> impl Iterator<Item = Connection> {
        (0..SHARDS).flat_map(|index| {
            let shard = self.lock(index);
            let found: Vec<_> = shard.iter().map(|(_, it)| it.connection.clone()).collect();
            found
        })
    }
}
