use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use tower_ops_trace::Ratio;

use crate::OpsBuilder;
use crate::layer::trusted_proxies::TrustedProxies;

/// What a setting does to a builder.
pub(super) type Change = Box<dyn FnOnce(OpsBuilder) -> OpsBuilder>;

type Set<T> = fn(OpsBuilder, T) -> OpsBuilder;

/// What kind of value a setting has, and where in the builder it goes.
pub(super) enum Kind {
    Addr(Set<SocketAddr>),
    File(Set<String>),
    /// A part of the shutdown.
    Time(Set<Duration>),
    /// The same, but more than nothing.
    SomeTime(Set<Duration>),
    Timeout(Set<Option<Duration>>),
    Count(usize, Set<usize>),
    Limit(Set<Option<usize>>),
    Ratio(Set<Ratio>),
    Switch(Set<bool>),
    SwitchOrRatio(Set<SwitchOrRatio>),
    Networks(Set<Vec<String>>),
}

/// Of what can be off, or on, or on for a part.
#[derive(Clone, Copy)]
pub(super) enum SwitchOrRatio {
    Off,
    On(Ratio),
}

/// The most that a part of the shutdown may take.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Kind {
    /// Returns what values there are, to follow "is not".
    pub(super) fn expected(&self) -> Cow<'static, str> {
        match self {
            Self::Addr(_) => "an IP address with a port, such as \"0.0.0.0:8080\"".into(),
            Self::File(_) => "the path of a file".into(),
            Self::Time(_) => "a duration of at most a day, such as \"30s\"".into(),
            Self::SomeTime(_) => "a duration above 0s and of at most a day, such as \"30s\"".into(),
            Self::Timeout(_) => "a duration above 0s, such as \"30s\", or \"off\"".into(),
            Self::Count(most, _) => format!("a number from 1 to {most}").into(),
            Self::Limit(_) => "a number from 1, or \"off\"".into(),
            Self::Ratio(_) => "a number from 0 to 1".into(),
            Self::Switch(_) => "\"on\" or \"off\"".into(),
            Self::SwitchOrRatio(_) => "\"on\", \"off\" or a number from 0 to 1".into(),
            Self::Networks(_) => {
                "networks with commas between them, such as \"10.0.0.0/8, 2001:db8::/32\"".into()
            }
        }
    }

    /// Reads the text. The error lists every problem, each to follow the name of the setting.
    pub(super) fn change(&self, text: &str) -> Result<Change, Vec<String>> {
        let text = text.trim();
        let change = match *self {
            Self::Addr(set) => text.parse().ok().map(|it| with(set, it)),
            Self::File(set) => (!text.is_empty()).then(|| with(set, text.to_owned())),
            Self::Time(set) => time(text).map(|it| with(set, it)),
            Self::SomeTime(set) => time(text)
                .filter(|it| !it.is_zero())
                .map(|it| with(set, it)),
            Self::Timeout(set) => {
                or_off(text, |text| duration(text).filter(|limit| !limit.is_zero()))
                    .map(|it| with(set, it))
            }
            Self::Count(most, set) => count(text).filter(|it| *it <= most).map(|it| with(set, it)),
            Self::Limit(set) => or_off(text, count).map(|it| with(set, it)),
            Self::Ratio(set) => text.parse().ok().map(|it| with(set, it)),
            Self::Switch(set) => switch(text).map(|it| with(set, it)),
            Self::SwitchOrRatio(set) => switch_or_ratio(text).map(|it| with(set, it)),
            Self::Networks(set) => return networks(text).map(|it| with(set, it)),
        };
        change.ok_or_else(|| vec![format!("{text:?} is not {}", self.expected())])
    }
}

fn with<T: 'static>(set: Set<T>, value: T) -> Change {
    Box::new(move |ops| set(ops, value))
}

fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

fn time(text: &str) -> Option<Duration> {
    duration(text).filter(|time| *time <= DAY)
}

fn count(text: &str) -> Option<usize> {
    text.parse().ok().filter(|count| *count > 0)
}

fn or_off<T>(text: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    if text == "off" {
        Some(None)
    } else {
        read(text).map(Some)
    }
}

fn switch(text: &str) -> Option<bool> {
    match text {
        "on" | "true" | "1" => Some(true),
        "off" | "false" | "0" => Some(false),
        _ => None,
    }
}

/// A number is a ratio: 0 is not off, since what failed is logged all the same.
fn switch_or_ratio(text: &str) -> Option<SwitchOrRatio> {
    match text {
        "on" | "true" => Some(SwitchOrRatio::On(Ratio::ALL)),
        "off" | "false" => Some(SwitchOrRatio::Off),
        _ => text.parse().ok().map(SwitchOrRatio::On),
    }
}

fn networks(text: &str) -> Result<Vec<String>, Vec<String>> {
    let networks = text.split(',').map(str::trim).filter(|it| !it.is_empty());
    let networks: Vec<_> = networks.map(str::to_owned).collect();
    TrustedProxies::parse(&networks).map_err(|problems| {
        let without_name = |problem: String| match problem.strip_prefix("trusted_proxies: ") {
            Some(rest) => rest.to_owned(),
            None => problem,
        };
        problems.into_iter().map(without_name).collect::<Vec<_>>()
    })?;
    Ok(networks)
}
