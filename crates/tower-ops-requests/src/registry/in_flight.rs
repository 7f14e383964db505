use std::sync::Arc;

use slab::Slab;

use crate::record::Record;

/// What is in flight in one shard.
pub(crate) struct Live {
    entries: Slab<Entry>,
    /// How many of them a shutdown waits for.
    awaited: usize,
}

pub(crate) struct Entry {
    /// Beside the record, so that a search for the oldest touches no record.
    pub(crate) started: u64,
    pub(crate) record: Arc<Record>,
    awaited: bool,
}

/// Room that is not given back when the last entry goes.
const KEPT: usize = 1_024;

impl Live {
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

    /// Returns the record, and whether it was the last one that was waited for.
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

    /// It is waited for from now on, or not any more. Returns whether it was the last
    /// one that was.
    pub(crate) fn await_it(&mut self, key: usize, awaited: bool) -> bool {
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

    /// The entries in a part of the slots, and whether there are slots after it.
    /// An entry stays in its slot, so that going through all slots part by part
    /// meets everything once that is there all the while.
    pub(crate) fn part(&self, from: usize, slots: usize) -> (impl Iterator<Item = &Entry>, bool) {
        // Occupied keys are below the number of slots that were ever in use.
        let end = from + slots;
        let entries = (from..end).filter_map(|key| self.entries.get(key));
        (entries, end < self.entries.capacity())
    }
}
