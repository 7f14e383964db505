use std::sync::Arc;

use slab::Slab;

use crate::record::Record;

/// What is in flight in one shard.
pub(crate) struct InFlight {
    entries: Slab<Entry>,
    /// How many of them a shutdown waits for.
    awaited: usize,
}

pub(crate) struct Entry {
    /// Also here, so that a search for the oldest touches no record.
    pub(crate) started: u64,
    pub(crate) record: Arc<Record>,
    awaited: bool,
}

/// Up to this many entries, the room is kept when the last one goes.
const KEPT: usize = 1_024;

impl InFlight {
    pub(crate) const fn new() -> Self {
        Self {
            entries: Slab::new(),
            awaited: 0,
        }
    }

    #[inline]
    pub(crate) fn insert(&mut self, record: Arc<Record>, awaited: bool) -> usize {
        self.awaited += usize::from(awaited);
        self.entries.insert(Entry {
            started: record.started,
            record,
            awaited,
        })
    }

    /// Returns the record, and whether it was the last one that a shutdown waits for.
    #[inline]
    pub(crate) fn remove(&mut self, key: usize) -> (Option<Arc<Record>>, bool) {
        let entry = self.entries.try_remove(key);
        let was_awaited = entry.as_ref().is_some_and(|entry| entry.awaited);
        self.awaited -= usize::from(was_awaited);
        if self.entries.is_empty() {
            self.shrink();
        }
        let last = was_awaited && self.awaited == 0;
        (entry.map(|entry| entry.record), last)
    }

    fn shrink(&mut self) {
        if self.entries.capacity() > KEPT {
            self.entries = Slab::new();
        }
    }

    /// Sets whether a shutdown waits for an entry. Returns whether it was the last one to wait for.
    pub(crate) fn set_awaited(&mut self, key: usize, awaited: bool) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        let was_awaited = std::mem::replace(&mut entry.awaited, awaited);
        self.awaited += usize::from(awaited);
        self.awaited -= usize::from(was_awaited);
        was_awaited && self.awaited == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) const fn awaited(&self) -> usize {
        self.awaited
    }

    /// The entries in some of the keys, and whether there are keys after these. An entry keeps its
    /// key. So a walk over all keys, part by part, meets every entry once that is there throughout.
    pub(crate) fn part(&self, from: usize, keys: usize) -> (impl Iterator<Item = &Entry>, bool) {
        // Occupied keys are below the number of keys that were ever in use.
        let end = from + keys;
        let entries = (from..end).filter_map(|key| self.entries.get(key));
        (entries, end < self.entries.capacity())
    }
}
