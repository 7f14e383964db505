//! What the service is asked.

use std::time::Duration;

use tower_ops_core::http::{BadQuery, Query};
use tower_ops_observe::Class;

use crate::record::outcome::TrackedOutcome;
use crate::record::snapshot::RequestSnapshot;
use crate::registry::Cursor;

pub(crate) fn after(query: &Query<'_>) -> Result<Option<Cursor>, BadQuery> {
    let Some(text) = query.get("after") else {
        return Ok(None);
    };
    let cursor = text.split_once('-').and_then(|(nanos, id)| {
        Some(Cursor {
            nanos: nanos.parse().ok()?,
            id: id.parse().ok()?,
        })
    });
    match cursor {
        Some(cursor) => Ok(Some(cursor)),
        None => Err(BadQuery::new(
            "after: not the \"next\" of an earlier answer of this process",
        )),
    }
}

pub(crate) fn filter(query: &Query<'_>) -> Result<Filter, BadQuery> {
    let outcome = match query.get("outcome") {
        None => Ended::Anyhow,
        Some(text) => Ended::parse(text).ok_or_else(|| {
            BadQuery::new(format!("outcome: not one of {}", Ended::names().join(", ")))
        })?,
    };
    let class = match query.get("class") {
        None => None,
        Some(text) => Some(class(text).ok_or_else(|| {
            let names = Class::ALL.map(|class| class.as_str()).join(", ");
            BadQuery::new(format!("class: not one of {names}"))
        })?),
    };
    let at_least = match query.get("min_ms") {
        None => None,
        Some(text) => Some(millis(text).ok_or_else(|| {
            BadQuery::new("min_ms: not a number of milliseconds, such as 250 or 0.5")
        })?),
    };
    Ok(Filter {
        outcome,
        class,
        at_least,
        request_id: query.get("request_id").map(Into::into),
        route: query.get("route").map(Into::into),
    })
}

/// Where in the history to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Anywhere,
    Slowest,
    Failed,
}

pub(crate) fn kept(query: &Query<'_>) -> Result<Kept, BadQuery> {
    match query.get("kept") {
        None => Ok(Kept::Anywhere),
        Some("slowest") => Ok(Kept::Slowest),
        Some("failed") => Ok(Kept::Failed),
        Some(_) => Err(BadQuery::new("kept: not one of slowest, failed")),
    }
}

fn class(text: &str) -> Option<Class> {
    { Class::ALL.iter() }
        .find(|class| class.as_str() == text)
        .copied()
}

fn millis(text: &str) -> Option<Duration> {
    // Digits first: "inf", "NaN" and signs are numbers to Rust.
    let number = text.starts_with(|first: char| first.is_ascii_digit());
    let millis: f64 = number.then(|| text.parse().ok())??;
    Duration::try_from_secs_f64(millis / 1_000.0).ok()
}

/// The text of the parameter `after`.
pub(crate) fn cursor_text(cursor: Cursor) -> String {
    format!("{}-{}", cursor.nanos, cursor.id)
}

/// What of the history is asked for.
pub(crate) struct Filter {
    outcome: Ended,
    class: Option<Class>,
    at_least: Option<Duration>,
    request_id: Option<String>,
    route: Option<String>,
}

/// An outcome, or a class: `cancelled` is both, and means the class, which has
/// all that were.
#[derive(Clone, Copy)]
enum Ended {
    Anyhow,
    With(TrackedOutcome),
    In(Class),
}

impl Filter {
    /// Whether it asks for what only those may know who see details.
    pub(crate) const fn needs_details(&self) -> bool {
        self.request_id.is_some()
    }

    pub(crate) fn matches(&self, snapshot: &RequestSnapshot) -> bool {
        let ended = match self.outcome {
            Ended::Anyhow => true,
            Ended::With(outcome) => snapshot.outcome == Some(outcome),
            Ended::In(class) => snapshot.class == Some(class),
        };
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
        let outcomes = TrackedOutcome::ALL;
        let outcome = || outcomes.iter().find(|outcome| outcome.as_str() == text);
        class(text)
            .map(Self::In)
            .or_else(|| outcome().map(|outcome| Self::With(*outcome)))
    }

    fn names() -> Vec<&'static str> {
        let mut names: Vec<&str> = Class::ALL.iter().map(|class| class.as_str()).collect();
        for outcome in TrackedOutcome::ALL {
            if !names.contains(&outcome.as_str()) {
                names.push(outcome.as_str());
            }
        }
        names
    }
}
