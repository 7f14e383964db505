//! Which lines are written: levels by target, as `RUST_LOG` has them.

use std::fmt;

use tracing::level_filters::LevelFilter;

pub(crate) mod reload;

/// The most directives of a filter.
const MAX_DIRECTIVES: usize = 64;
/// The most bytes of a filter.
pub(crate) const MAX_FILTER: usize = 4096;
/// What is written if nothing is set.
pub(crate) const DEFAULT: &str = "info";

/// Crates that log each frame and each byte at `debug`, and nothing that an operator acts on at
/// `info`. They are held at `warn`, unless a directive names them.
pub(crate) const NOISY: &[&str] = &[
    "h2",
    "hickory_proto",
    "hickory_resolver",
    "hyper",
    "hyper_util",
    "mio",
    "opentelemetry",
    "opentelemetry_otlp",
    "opentelemetry_sdk",
    "quinn",
    "reqwest",
    "rustls",
    "sqlx",
    "tokio_util",
    "tonic",
    "tower",
    "want",
];

/// A filter: a level for each target that a directive names, and one for all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directives {
    /// The longest target first.
    targets: Vec<(Box<str>, LevelFilter)>,
    others: LevelFilter,
    quiets: bool,
}

/// Whether a target may stand without a level, which enables all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BareTargets {
    /// As in `RUST_LOG`.
    Enable,
    /// A misspelled level is to be found.
    Refuse,
}

/// What is wrong with a filter, in words. Quotes nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    text: String,
}

impl FilterError {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    pub(crate) fn of_thread(error: &std::io::Error) -> Self {
        Self::new(format!("no thread for changing it back: {error}"))
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for FilterError {}

impl Directives {
    /// A filter that writes nothing.
    pub(crate) const fn none(quiets: bool) -> Self {
        Self {
            targets: Vec::new(),
            others: LevelFilter::OFF,
            quiets,
        }
    }

    /// Returns this filter with directives, such as `info,orders::db=debug`. With a level of its own
    /// it takes the place of this one; otherwise only the named targets change.
    pub(crate) fn with(&self, text: &str, bare: BareTargets) -> Result<Self, FilterError> {
        if text.len() > MAX_FILTER {
            let text = format!("a filter has {MAX_FILTER} bytes at most");
            return Err(FilterError::new(text));
        }
        let mut others = None;
        let mut targets = Vec::new();
        let parts = text.split(',').map(str::trim).enumerate();
        for (index, part) in parts.filter(|(_, part)| !part.is_empty()) {
            let problem = |text| FilterError::new(format!("directive {}: {text}", index + 1));
            match directive(part, bare).map_err(problem)? {
                (None, level) if others.is_none() => others = Some(level),
                (None, _) => return Err(problem("a second level without a target")),
                (Some(target), level) => targets.push((target, level)),
            }
        }
        if targets.len() > MAX_DIRECTIVES {
            let text = format!("a filter has {MAX_DIRECTIVES} directives at most");
            return Err(FilterError::new(text));
        }
        if others.is_none() && targets.is_empty() {
            let text = "it is empty: write a level, or targets with levels, such as \
                info,orders::db=debug";
            return Err(FilterError::new(text));
        }
        let mut filter = match others {
            Some(others) => Self {
                others,
                ..Self::none(self.quiets)
            },
            None => self.clone(),
        };
        for (target, level) in targets {
            filter.set(target, level);
        }
        Ok(filter)
    }

    fn set(&mut self, target: &str, level: LevelFilter) {
        self.targets.retain(|(known, _)| **known != *target);
        let shorter = |(known, _): &(Box<str>, LevelFilter)| known.len() < target.len();
        let at = self.targets.iter().position(shorter);
        let at = at.unwrap_or(self.targets.len());
        self.targets.insert(at, (target.into(), level));
    }

    /// Returns the level to which a target is written.
    pub(crate) fn level(&self, target: &str) -> LevelFilter {
        let named = self.targets.iter();
        let mut named = named.filter(|(known, _)| target.starts_with(&**known));
        if let Some((_, level)) = named.next() {
            *level
        } else if self.quiets && is_noisy(target) {
            self.others.min(LevelFilter::WARN)
        } else {
            self.others
        }
    }

    /// Returns the most verbose level that any target has.
    pub(crate) fn max_level(&self) -> LevelFilter {
        let levels = self.targets.iter().map(|(_, level)| *level);
        levels.max().map_or(self.others, |max| max.max(self.others))
    }
}

/// Returns whether it is one of the noisy crates, and not one whose name begins like theirs.
fn is_noisy(target: &str) -> bool {
    let of_crate = target.split("::").next().unwrap_or_default();
    NOISY.contains(&of_crate)
}

/// Reads `level`, `target=level` or, where that is allowed, `target`.
fn directive(text: &str, bare: BareTargets) -> Result<(Option<&str>, LevelFilter), &'static str> {
    const LEVELS: &str = "no level: off, error, warn, info, debug or trace";
    let Some((target, level)) = text.split_once('=') else {
        if let Some(level) = parse_level(text) {
            return Ok((None, level));
        }
        return match bare {
            BareTargets::Enable => Ok((Some(parse_target(text)?), LevelFilter::TRACE)),
            BareTargets::Refuse => Err("neither a level (off, error, warn, info, debug or trace) \
                nor a target with one, such as orders::db=debug"),
        };
    };
    let level = parse_level(level.trim()).ok_or(LEVELS)?;
    Ok((Some(parse_target(target.trim())?), level))
}

fn parse_level(text: &str) -> Option<LevelFilter> {
    const LEVELS: [(&str, LevelFilter); 6] = [
        ("off", LevelFilter::OFF),
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
        ("trace", LevelFilter::TRACE),
    ];
    let mut levels = LEVELS.into_iter();
    let level = levels.find(|(name, _)| name.eq_ignore_ascii_case(text));
    level.map(|(_, level)| level)
}

fn parse_target(text: &str) -> Result<&str, &'static str> {
    if text.is_empty() {
        return Err("a level without a target before its =");
    }
    if text.contains(['[', '{']) {
        return Err("spans and fields: only targets and levels are filtered by");
    }
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '-' | '.' | '/');
    if text.chars().all(is_part) {
        Ok(text)
    } else {
        Err("no target: one is the path of a module, such as orders::db")
    }
}

/// Writes the directives: what [`with`](Directives::with) reads.
impl fmt::Display for Directives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.others)?;
        for (target, level) in &self.targets {
            write!(f, ",{target}={level}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Directives, FilterError> {
        Directives::none(true).with(text, BareTargets::Refuse)
    }

    #[test]
    fn the_longest_target_decides() {
        let filter = parse("warn, orders=info,orders::db=TRACE,orders::db::pool=off").unwrap();
        for (target, level) in [
            ("other", LevelFilter::WARN),
            ("orders", LevelFilter::INFO),
            ("orders_v2", LevelFilter::INFO),
            ("orders::api", LevelFilter::INFO),
            ("orders::db::query", LevelFilter::TRACE),
            ("orders::db::pool", LevelFilter::OFF),
        ] {
            assert_eq!(filter.level(target), level, "{target}");
        }
        assert_eq!(filter.max_level(), LevelFilter::TRACE);
        let text = "warn,orders::db::pool=off,orders::db=trace,orders=info";
        assert_eq!(filter.to_string(), text);
        assert_eq!(parse(text).unwrap(), filter);
    }

    #[test]
    fn noisy_crates_are_held_at_warn_unless_named() {
        let filter = parse("debug").unwrap();
        assert_eq!(filter.level("h2::codec"), LevelFilter::WARN);
        assert_eq!(filter.level("hyper"), LevelFilter::WARN);
        assert_eq!(filter.level("h2o::app"), LevelFilter::DEBUG);
        assert_eq!(filter.level("tower_ops::access"), LevelFilter::DEBUG);
        let filter = parse("debug,h2=debug").unwrap();
        assert_eq!(filter.level("h2::codec"), LevelFilter::DEBUG);
        assert_eq!(parse("error").unwrap().level("h2"), LevelFilter::ERROR);
        let loud = Directives::none(false)
            .with("debug", BareTargets::Refuse)
            .unwrap();
        assert_eq!(loud.level("h2::codec"), LevelFilter::DEBUG);
    }

    #[test]
    fn without_a_level_of_its_own_only_the_named_targets_change() {
        let base = parse("info,orders=warn").unwrap();
        let with = |text| base.with(text, BareTargets::Enable).unwrap().to_string();
        assert_eq!(
            with("orders::db=debug"),
            "info,orders::db=debug,orders=warn"
        );
        assert_eq!(with("orders=trace"), "info,orders=trace");
        assert_eq!(with("off,orders=trace"), "off,orders=trace");
        assert_eq!(with("orders::db"), "info,orders::db=trace,orders=warn");
    }

    #[test]
    fn what_is_wrong_is_named_and_not_quoted() {
        for (text, problem) in [
            ("", "it is empty"),
            (" , ", "it is empty"),
            ("debgu", "directive 1: neither a level"),
            ("info,,orders=loud", "directive 3: no level"),
            ("info,=debug", "directive 2: a level without a target"),
            ("info,debug", "directive 2: a second level"),
            ("a[span{x=1}]=debug", "directive 1: no level"),
            ("a[span]=debug", "directive 1: spans and fields"),
            ("a b=debug", "directive 1: no target"),
            ("\u{1b}[31m=debug", "directive 1: spans and fields"),
            ("{\"level\":\"debug\"}", "directive 1: neither a level"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(problem), "{text}: {error}");
        }
        let many = vec!["a=info"; MAX_DIRECTIVES + 1].join(",");
        assert!(parse(&many).is_err());
        assert!(parse(&"a".repeat(MAX_FILTER + 1)).is_err());
    }
}
