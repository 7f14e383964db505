use std::hash::BuildHasher;
use std::sync::OnceLock;

use foldhash::fast::FixedState;

use crate::labels::LabelKey;

/// A map from label sets to their instruments that only grows, up to its size.
///
/// Reading takes no lock and writes nothing shared: a slot is filled once and
/// then stays. The hash needs no seed, since no client chooses what is inserted:
/// routes come from the router, everything else from closed lists.
pub(crate) struct Table<T> {
    slots: Box<[OnceLock<Box<Entry<T>>>]>,
    hasher: FixedState,
}

struct Entry<T> {
    key: LabelKey,
    route: Box<str>,
    value: T,
}

/// Slots that a look-up visits before it gives up. At half load a chain of this
/// length is as good as impossible; if it happens, the set counts as overflow.
const LONGEST_PROBE: usize = 64;

impl<T> Table<T> {
    /// A table for about `entries` entries.
    pub(crate) fn new(entries: usize) -> Self {
        let size = (entries * 2).next_power_of_two().max(LONGEST_PROBE);
        Self {
            slots: (0..size).map(|_| OnceLock::new()).collect(),
            hasher: FixedState::default(),
        }
    }

    /// The value of a label set, made by `make` when it is first asked for.
    /// `None` if `make` makes none; `undo` takes back what another thread was
    /// faster to make.
    pub(crate) fn get_or_insert(
        &self,
        key: LabelKey,
        route: &str,
        make: impl FnOnce() -> Option<T>,
        undo: impl FnOnce(),
    ) -> Option<&T> {
        let mask = self.slots.len() - 1;
        let hash = self.hasher.hash_one((key, route));
        #[expect(clippy::cast_possible_truncation, reason = "the mask cuts it anyway")]
        let start = hash as usize;
        let mut new = None;
        let mut make = Some(make);
        for step in 0..LONGEST_PROBE {
            let slot = &self.slots[start.wrapping_add(step) & mask];
            if slot.get().is_none() {
                if let Some(make) = make.take() {
                    new = Some(Box::new(Entry {
                        key,
                        route: route.into(),
                        value: make()?,
                    }));
                }
                if let Some(Err(entry)) = new.take().map(|entry| slot.set(entry)) {
                    new = Some(entry);
                }
            }
            if let Some(entry) = slot.get()
                && entry.key == key
                && *entry.route == *route
            {
                if new.is_some() {
                    undo();
                }
                return Some(&entry.value);
            }
        }
        if new.is_some() {
            undo();
        }
        None
    }
}
