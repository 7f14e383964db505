use std::sync::{Mutex, MutexGuard, PoisonError};

use slab::Slab;

use crate::Connection;

/// Every connection that is open, in shards of their own locks: 64, so that a pass
/// over a million of them holds none for longer than a fraction of a millisecond.
pub(crate) struct Shards {
    shards: Box<[Mutex<Slab<Connection>>]>,
}

pub(crate) const SHARDS: usize = 64;

impl Shards {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Where a connection stands follows from its number.
    fn shard(&self, id: u64) -> MutexGuard<'_, Slab<Connection>> {
        self.lock(usize::try_from(id % SHARDS as u64).unwrap_or_default())
    }

    pub(crate) fn lock(&self, index: usize) -> MutexGuard<'_, Slab<Connection>> {
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, connection: Connection) -> usize {
        self.shard(connection.id()).insert(connection)
    }

    pub(crate) fn remove(&self, id: u64, key: usize) -> Connection {
        self.shard(id).remove(key)
    }

    /// Looks through one shard: an operator who closes a connection by hand can
    /// wait for that, and no connection pays for a map.
    pub(crate) fn find(&self, id: u64) -> Option<Connection> {
        let shard = self.shard(id);
        let found = shard.iter().find(|(_, connection)| connection.id() == id);
        found.map(|(_, connection)| connection.clone())
    }

    /// Those at the time when their shard is looked at.
    pub(crate) fn all(&self) -> impl Iterator<Item = Connection> {
        (0..SHARDS).flat_map(|index| {
            let shard = self.lock(index);
            let found: Vec<_> = shard.iter().map(|(_, it)| it.clone()).collect();
            found
        })
    }
}
