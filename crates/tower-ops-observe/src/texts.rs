use std::hash::BuildHasher;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A set of texts that only grows, up to its size.
///
/// Reading takes no lock and writes nothing: a slot is filled once and then stays.
pub(crate) struct Texts<T, S> {
    slots: OnceLock<Box<[OnceLock<T>]>>,
    len: AtomicUsize,
    max: usize,
    hasher: S,
}

impl<T: AsRef<str>, S: BuildHasher> Texts<T, S> {
    pub(crate) const fn new(max: usize, hasher: S) -> Self {
        Self {
            slots: OnceLock::new(),
            len: AtomicUsize::new(0),
            max,
            hasher,
        }
    }

    #[inline]
    pub(crate) fn get(&self, text: &str) -> Option<&T> {
        let slots = self.slots.get()?;
        for slot in self.probe(slots, text) {
            match slot.get() {
                Some(known) if known.as_ref() == text => return Some(known),
                Some(_) => {}
                None => return None,
            }
        }
        None
    }

    /// Adds what `make` makes of a text, and returns it; `None` when the set is full.
    #[cold]
    pub(crate) fn insert(&self, text: &str, make: impl FnOnce(&str) -> T) -> Option<&T> {
        // Twice as many slots as entries keep every probe short, and leave
        // empty slots for it to end at.
        let slots = self.slots.get_or_init(|| {
            let slots = (2 * self.max).next_power_of_two();
            (0..slots).map(|_| OnceLock::new()).collect()
        });
        let mut make = Some(make);
        let mut made = None;
        for slot in self.probe(slots, text) {
            if slot.get().is_none() {
                // A full set is only read.
                if self.len.load(Ordering::Relaxed) >= self.max {
                    return None;
                }
                if self.len.fetch_add(1, Ordering::Relaxed) >= self.max {
                    self.len.fetch_sub(1, Ordering::Relaxed);
                    return None;
                }
                if let Some(make) = make.take() {
                    made = Some(make(text));
                }
                match made.take().map(|made| slot.set(made)) {
                    Some(Ok(())) => return slot.get(),
                    // Another thread took the slot: perhaps with this very text.
                    Some(Err(back)) => made = Some(back),
                    None => {}
                }
                self.len.fetch_sub(1, Ordering::Relaxed);
            }
            if slot.get().is_some_and(|known| known.as_ref() == text) {
                return slot.get();
            }
        }
        None
    }

    #[inline]
    fn probe<'a>(
        &self,
        slots: &'a [OnceLock<T>],
        text: &str,
    ) -> impl Iterator<Item = &'a OnceLock<T>> + use<'a, T, S> {
        let mask = slots.len() - 1;
        #[expect(clippy::cast_possible_truncation, reason = "the mask cuts it anyway")]
        let start = self.hasher.hash_one(text) as usize;
        (0..slots.len()).map(move |step| &slots[start.wrapping_add(step) & mask])
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use super::*;

    fn texts(max: usize) -> Texts<Box<str>, RandomState> {
        Texts::new(max, RandomState::new())
    }

    #[test]
    fn keeps_each_text_once_up_to_the_bound() {
        let texts = texts(100);
        assert!(texts.get("a/0").is_none());
        for n in 0..200 {
            let text = format!("a/{n}");
            assert_eq!(texts.insert(&text, |text| text.into()).is_some(), n < 100);
            assert_eq!(texts.get(&text).is_some(), n < 100);
        }
        let first = texts.get("a/0").unwrap();
        let again = texts.insert("a/0", |text| text.into()).unwrap();
        assert!(std::ptr::eq(first, again));
    }

    #[test]
    fn threads_agree_on_one_entry() {
        let texts = texts(1_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..200 {
                        assert!(
                            texts
                                .insert(&format!("a/{n}"), |text| text.into())
                                .is_some()
                        );
                    }
                });
            }
        });
        assert_eq!(texts.len(), 200);
    }
}
