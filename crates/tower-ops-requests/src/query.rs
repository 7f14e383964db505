//! What the service is asked, and what is wrong with a question.

use tower_ops_observe::Class;

use crate::outcome::TrackedOutcome;
use crate::snapshot::RequestSnapshot;

/// How many are listed unless told otherwise, and at most.
pub(crate) const DEFAULT_LIMIT: usize = 100;
pub(crate) const MOST: usize = 1_000;

/// Parameters, each at most once.
pub(crate) struct Query<'a> {
    pairs: Vec<(String, String)>,
    valid: &'a [&'static str],
}

/// What is wrong with a question, in words for whoever asked. Quotes nothing of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadQuery {
    pub(crate) message: String,
}

impl BadQuery {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

impl<'a> Query<'a> {
    pub(crate) fn parse(query: &str, valid: &'a [&'static str]) -> Result<Self, BadQuery> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !valid.contains(&&*name) {
                return Err(BadQuery::new(
                    "there is a parameter that this path does not have",
                ));
            }
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(BadQuery::new(format!("{name}: given more than once")));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self { pairs, valid })
    }

    pub(crate) fn limit(&self) -> Result<usize, BadQuery> {
        let Some(limit) = self.get("limit") else {
            return Ok(DEFAULT_LIMIT);
        };
        match limit.parse() {
            Ok(limit @ 1..=MOST) => Ok(limit),
            _ => Err(BadQuery::new(format!(
                "limit: not a number from 1 to {MOST}"
            ))),
        }
    }

    pub(crate) fn after(&self) -> Result<Option<Cursor>, BadQuery> {
        let Some(text) = self.get("after") else {
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

    pub(crate) fn filter(&self) -> Result<Filter, BadQuery> {
        let outcome = match self.get("outcome") {
            None => Ended::Anyhow,
            Some(text) => Ended::parse(text).ok_or_else(|| {
                BadQuery::new(format!("outcome: not one of {}", Ended::names().join(", ")))
            })?,
        };
        Ok(Filter {
            outcome,
            route: self.get("route").map(Into::into),
        })
    }

    fn get(&self, name: &str) -> Option<&str> {
        // A name that is not valid could never be given.
        debug_assert!(self.valid.contains(&name));
        let pair = self.pairs.iter().find(|(known, _)| known == name);
        pair.map(|(_, value)| value.as_str())
    }
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
