//! What the service is asked.

use tower_ops_answer::{BadQuery, Query};
use tower_ops_observe::Class;

use crate::outcome::TrackedOutcome;
use crate::snapshot::RequestSnapshot;

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
    Ok(Filter {
        outcome,
        route: query.get("route").map(Into::into),
    })
}

/// A place in the listing of what is in flight: after the work that started so
/// long after the tracker was made, and that has this id. Stays valid when that
/// work is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cursor {
    pub(crate) nanos: u64,
    pub(crate) id: u64,
}

impl Cursor {
    pub(crate) fn to_text(self) -> String {
        format!("{}-{}", self.nanos, self.id)
    }
}

/// What of the history is asked for.
pub(crate) struct Filter {
    outcome: Ended,
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
    pub(crate) fn matches(&self, snapshot: &RequestSnapshot) -> bool {
        let ended = match self.outcome {
            Ended::Anyhow => true,
            Ended::With(outcome) => snapshot.outcome == Some(outcome),
            Ended::In(class) => snapshot.class == Some(class),
        };
        let route = self.route.as_deref();
        ended && route.is_none_or(|route| route == snapshot.route_or_name())
    }
}

impl Ended {
    fn parse(text: &str) -> Option<Self> {
        let class = Class::ALL.iter().find(|class| class.as_str() == text);
        let outcomes = TrackedOutcome::ALL;
        let outcome = || outcomes.iter().find(|outcome| outcome.as_str() == text);
        class
            .map(|class| Self::In(*class))
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
