//! The parameters of the service.

use std::time::Duration;

use tower_ops_core::http::{BadQuery, Query};
use tower_ops_observe::{Class, Outcome};

use crate::record::progress::OUTCOMES;
use crate::record::snapshot::RequestSnapshot;
use crate::registry::Cursor;

pub(crate) fn after(query: &Query<'_>) -> Result<Option<Cursor>, BadQuery> {
    parse(query, "after", cursor, || {
        "not the \"next\" of an earlier answer of this process".to_owned()
    })
}

/// The value of a parameter, `None` if it is not there.
fn parse<T>(
    query: &Query<'_>,
    name: &str,
    parse: impl FnOnce(&str) -> Option<T>,
    problem: impl FnOnce() -> String,
) -> Result<Option<T>, BadQuery> {
    let Some(text) = query.get(name) else {
        return Ok(None);
    };
    let value = parse(text).ok_or_else(|| BadQuery::new(format!("{name}: {}", problem())))?;
    Ok(Some(value))
}

fn cursor(text: &str) -> Option<Cursor> {
    let (nanos, id) = text.split_once('-')?;
    Some(Cursor {
        nanos: nanos.parse().ok()?,
        id: id.parse().ok()?,
    })
}

pub(crate) fn filter(query: &Query<'_>) -> Result<Filter, BadQuery> {
    let ended = parse(query, "outcome", Ended::parse, || {
        format!("not one of {}", Ended::names().join(", "))
    })?;
    let class = parse(query, "class", class, || {
        let names = Class::ALL.map(|class| class.as_str()).join(", ");
        format!("not one of {names}")
    })?;
    let at_least = parse(query, "min_ms", millis, || {
        "not a number of milliseconds, such as 250 or 0.5".to_owned()
    })?;
    Ok(Filter {
        ended,
        class,
        at_least,
        request_id: query.get("request_id").map(Into::into),
        route: query.get("route").map(Into::into),
    })
}

/// Which part of the history to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Anywhere,
    Slowest,
    Failed,
}

pub(crate) fn kept(query: &Query<'_>) -> Result<Kept, BadQuery> {
    let kept = parse(query, "kept", Kept::parse, || {
        "not one of slowest, failed".to_owned()
    })?;
    Ok(kept.unwrap_or(Kept::Anywhere))
}

impl Kept {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "slowest" => Some(Self::Slowest),
            "failed" => Some(Self::Failed),
            _ => None,
        }
    }
}

fn class(text: &str) -> Option<Class> {
    Class::ALL.into_iter().find(|class| class.as_str() == text)
}

fn millis(text: &str) -> Option<Duration> {
    // A digit first: `f64` also parses "inf", "NaN" and signs.
    let number = text.starts_with(|first: char| first.is_ascii_digit());
    let millis: f64 = number.then(|| text.parse().ok())??;
    Duration::try_from_secs_f64(millis / 1_000.0).ok()
}

/// The text of the parameter `after`.
pub(crate) fn cursor_text(cursor: Cursor) -> String {
    format!("{}-{}", cursor.nanos, cursor.id)
}

/// Which endings to list.
pub(crate) struct Filter {
    ended: Option<Ended>,
    class: Option<Class>,
    at_least: Option<Duration>,
    request_id: Option<String>,
    route: Option<String>,
}

/// An outcome or a class. `cancelled` is both, and means the class, which includes the outcome.
#[derive(Clone, Copy)]
enum Ended {
    With(Outcome),
    In(Class),
}

impl Filter {
    /// Whether the answer would reveal details.
    pub(crate) const fn needs_details(&self) -> bool {
        self.request_id.is_some()
    }

    pub(crate) fn matches(&self, snapshot: &RequestSnapshot) -> bool {
        let ended = self.ended.is_none_or(|ended| match ended {
            Ended::With(outcome) => snapshot.outcome == Some(outcome),
            Ended::In(class) => snapshot.class == Some(class),
        });
        let class = self.class.is_none_or(|class| snapshot.class == Some(class));
        let duration = snapshot.duration.unwrap_or_default();
        let slow = self.at_least.is_none_or(|least| duration >= least);
        let id = self.request_id.as_deref();
        let id = id.is_none_or(|id| snapshot.request_id.as_deref() == Some(id));
        let route = self.route.as_deref();
        ended && class && slow && id && route.is_none_or(|route| route == snapshot.route_or_name())
    }
}

impl Ended {
    fn parse(text: &str) -> Option<Self> {
        let outcome = || {
            let mut outcomes = OUTCOMES.into_iter();
            outcomes.find(|outcome| outcome.as_str() == text)
        };
        class(text)
            .map(Self::In)
            .or_else(|| outcome().map(Self::With))
    }

    fn names() -> Vec<&'static str> {
        let mut names: Vec<&str> = Class::ALL.iter().map(|class| class.as_str()).collect();
        for outcome in OUTCOMES {
            if !names.contains(&outcome.as_str()) {
                names.push(outcome.as_str());
            }
        }
        names
    }
}
