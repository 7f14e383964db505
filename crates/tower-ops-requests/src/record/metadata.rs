use std::fmt;

use tower_ops_core::panic::catch;

use crate::record::inline_text::bounded;

/// The most entries that a record keeps.
pub(crate) const MOST_ENTRIES: usize = 16;
/// The longest key of an entry, in bytes.
pub(crate) const LONGEST_KEY: usize = 64;
/// The longest value of an entry, a reason or an error, in bytes.
pub(crate) const LONGEST_VALUE: usize = 256;

/// Notes on a piece of work, for operators to read.
///
/// At most 16 entries, with keys of up to 64 bytes and values of up to 256. Longer text is cut.
/// Entries after the sixteenth are dropped and counted. A key that comes again replaces its value.
///
/// # Examples
///
/// ```
/// use tower_ops_requests::Metadata;
///
/// let none = Metadata::from(());
/// let some = Metadata::from([("file", "orders.csv"), ("tenant", "7")]);
/// let numbers = Metadata::new().with("rows", 1_000).with("retry", true);
/// # let _ = (none, some, numbers);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    entries: Vec<(Box<str>, Box<str>)>,
    dropped: u32,
}

impl Metadata {
    /// Makes metadata without entries.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
            dropped: 0,
        }
    }

    /// Adds an entry.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.insert(key, &value);
        self
    }

    pub(crate) fn insert(&mut self, key: &str, value: &dyn fmt::Display) {
        let key = bounded(key, LONGEST_KEY);
        if let Some((_, old)) = self.entries.iter_mut().find(|(known, _)| **known == *key) {
            *old = bounded_display(value);
        } else if self.entries.len() < MOST_ENTRIES {
            self.entries.push((key.into(), bounded_display(value)));
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// Returns the entries, keys and values, in the order in which the keys came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(key, value)| (&**key, &**value))
    }

    pub(crate) const fn dropped(&self) -> u32 {
        self.dropped
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl From<()> for Metadata {
    fn from((): ()) -> Self {
        Self::new()
    }
}

impl<K: AsRef<str>, V: fmt::Display, const N: usize> From<[(K, V); N]> for Metadata {
    fn from(entries: [(K, V); N]) -> Self {
        entries
            .into_iter()
            .fold(Self::new(), |metadata, (key, value)| {
                metadata.with(key.as_ref(), value)
            })
    }
}

/// Replaces the rest of a value whose `Display` panics.
const PANICKED: &str = "(its Display panicked)";

/// Formats a value, cut to 256 bytes. Formatting stops there, so a value of any size costs no more.
pub(crate) fn bounded_display(value: &dyn fmt::Display) -> Box<str> {
    struct Bounded(String);

    impl fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let kept = bounded(text, LONGEST_VALUE - self.0.len());
            self.0.push_str(kept);
            if kept.len() < text.len() {
                return Err(fmt::Error);
            }
            Ok(())
        }
    }

    let mut bounded = Bounded(String::new());
    // `Display` is the user's code. If it panics, work that has ended must not stay in flight. The
    // error of `write_fmt` means that the text was cut, or that `Display` failed: both are fine.
    let displayed = catch(|| {
        let _ = fmt::Write::write_fmt(&mut bounded, format_args!("{value}"));
    });
    if displayed.is_err() {
        let _ = fmt::Write::write_str(&mut bounded, PANICKED);
    }
    bounded.0.into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_comes_again_replaces_its_value() {
        let metadata = Metadata::from([("a", 1), ("b", 2), ("a", 3)]);
        assert_eq!(
            metadata.iter().collect::<Vec<_>>(),
            [("a", "3"), ("b", "2")]
        );
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let mut metadata = Metadata::new();
        for n in 0..MOST_ENTRIES + 3 {
            metadata.insert(&n.to_string(), &n);
        }
        metadata.insert("0", &"replaced");
        assert_eq!(metadata.iter().count(), MOST_ENTRIES);
        assert_eq!(metadata.iter().next(), Some(("0", "replaced")));
        assert_eq!(metadata.dropped(), 3);
    }

    #[test]
    fn keys_and_values_are_cut_between_characters() {
        let long = "ü".repeat(1_000);
        let metadata = Metadata::from([(format!("k{long}"), format!("v{long}"))]);
        let (key, value) = metadata.iter().next().unwrap();
        assert_eq!(key.len(), LONGEST_KEY - 1);
        assert_eq!(value.len(), LONGEST_VALUE - 1);
    }

    #[test]
    fn a_value_that_panics_shows_how_far_it_came() {
        struct Panics;
        impl fmt::Display for Panics {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("so far ")?;
                panic!("planned")
            }
        }
        assert_eq!(&*bounded_display(&Panics), "so far (its Display panicked)");
    }

    #[test]
    fn a_value_without_end_is_cut_too() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("on and on ")?;
                }
            }
        }
        assert_eq!(bounded_display(&Endless).len(), LONGEST_VALUE);
    }
}
