use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tower_ops_trace::Ratio;

use super::table;

/// Reads variables, and collects what is wrong with them.
pub(super) struct Reader<'a> {
    values: &'a BTreeMap<String, String>,
    warnings: Vec<String>,
    read: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(values: &'a BTreeMap<String, String>) -> Self {
        Self {
            values,
            warnings: Vec::new(),
            read: BTreeSet::new(),
        }
    }

    pub(super) fn warn(&mut self, name: &str, problem: &str) {
        let sentence = format!("{name} {problem}");
        // A variable for all signals is read for each.
        if !self.warnings.contains(&sentence) {
            self.warnings.push(sentence);
        }
    }

    /// Reads settings that have no effect if `is_used` is false: then their problems are no warnings.
    pub(super) fn warning_if<T>(&mut self, is_used: bool, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.warnings.len();
        let result = read(self);
        if !is_used {
            self.warnings.truncate(before);
        }
        result
    }

    fn bad(&mut self, name: &str, value: &str, wanted: &str) {
        self.warn(
            name,
            &format!("is {}, which is not {wanted}: it is ignored", quoted(value)),
        );
    }

    /// The value, without the space around it. An empty one is as good as none.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        debug_assert!(table::find(name).is_some(), "{name} is not in the table");
        self.read.insert(name.to_owned());
        let value = self.values.get(name)?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    pub(super) fn bool(&mut self, name: &str) -> Option<bool> {
        self.one_of(name, &[("true", true), ("false", false)])
    }

    pub(super) fn number(&mut self, name: &str, least: usize) -> Option<usize> {
        let value = self.text(name)?;
        let number = value.parse().ok().filter(|&number| number >= least);
        if number.is_none() {
            self.bad(name, &value, &format!("a whole number of {least} or more"));
        }
        number
    }

    pub(super) fn millis(&mut self, name: &str) -> Option<Duration> {
        let value = self.text(name)?;
        // A day is more than anybody means, and far from where clocks overflow.
        let millis = value
            .parse()
            .ok()
            .filter(|millis| (1..=86_400_000).contains(millis));
        if millis.is_none() {
            self.bad(name, &value, "a number of milliseconds from 1 to a day");
        }
        millis.map(Duration::from_millis)
    }

    pub(super) fn ratio(&mut self, name: &str) -> Option<Ratio> {
        let value = self.text(name)?;
        let ratio = value.parse().ok();
        if ratio.is_none() {
            self.bad(name, &value, "a number from 0 to 1");
        }
        ratio
    }

    pub(super) fn one_of<T: Copy>(&mut self, name: &str, known: &[(&str, T)]) -> Option<T> {
        let value = self.text(name)?;
        let found = choose(&value, known);
        if found.is_none() {
            self.bad(name, &value, &wanted(known));
        }
        found
    }

    /// The members of a list that are known; `None` if it is unset, or if none of them is.
    pub(super) fn list<T: Copy>(&mut self, name: &str, known: &[(&str, T)]) -> Option<Vec<T>> {
        let value = self.text(name)?;
        let mut found = Vec::new();
        for member in value
            .split(',')
            .map(str::trim)
            .filter(|member| !member.is_empty())
        {
            match choose(member, known) {
                Some(member) => found.push(member),
                None => self.bad(name, member, &wanted(known)),
            }
        }
        (!found.is_empty()).then_some(found)
    }

    /// A list of `key=value`, percent-encoded as in the header of W3C baggage.
    pub(super) fn pairs(&mut self, name: &str) -> Vec<(String, String)> {
        let Some(value) = self.text(name) else {
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for member in value
            .split(',')
            .map(str::trim)
            .filter(|member| !member.is_empty())
        {
            let pair = member.split_once('=').and_then(|(key, value)| {
                let key = key.trim();
                let value = decode(value.trim())?;
                (!key.is_empty()).then(|| (key.to_owned(), value))
            });
            match pair {
                Some(pair) => pairs.push(pair),
                // What stands there may be a secret.
                None => self.warn(name, "has a member that is not key=value: it is ignored"),
            }
        }
        pairs
    }

    /// Adds what is set and was not read, and returns all warnings.
    pub(super) fn finish(mut self) -> Vec<String> {
        let mut unknown = Vec::new();
        for (name, value) in self.values {
            if value.trim().is_empty() || self.read.contains(name) {
                continue;
            }
            match table::find(name) {
                Some(variable) if variable.honoured => {}
                Some(variable) => {
                    let sentence = format!("{name} is not honoured: {}", variable.effect);
                    self.warnings.push(sentence);
                }
                None if table::is_of_others(name) => {}
                None => unknown.push(name.as_str()),
            }
        }
        if !unknown.is_empty() {
            let sentence = format!("not known, and not read: {}", unknown.join(", "));
            self.warnings.push(sentence);
        }
        self.warnings
    }

    #[cfg(test)]
    pub(super) fn names_read(&self) -> &BTreeSet<String> {
        &self.read
    }
}

fn choose<T: Copy>(value: &str, known: &[(&str, T)]) -> Option<T> {
    known
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(value))
        .map(|&(_, known)| known)
}

fn wanted<T>(known: &[(&str, T)]) -> String {
    let names: Vec<_> = known.iter().map(|&(name, _)| name).collect();
    format!("one of {}", names.join(", "))
}

/// Short, and on one line.
fn quoted(value: &str) -> String {
    let short: String = value.chars().take(60).collect();
    format!("{short:?}")
}

fn decode(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let high = char::from(rest.next()?).to_digit(16)?;
        let low = char::from(rest.next()?).to_digit(16)?;
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}
