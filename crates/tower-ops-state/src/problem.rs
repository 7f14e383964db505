use serde::Serialize;
use tower_ops_core::http::Answer;

use crate::error::StateError;

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    participant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rolled_back: Option<bool>,
}

/// What a client is told about an error.
pub(crate) fn problem(error: &StateError) -> Answer {
    let problem = Problem {
        error: error.message(),
        participant: error.participant(),
        rolled_back: error.rolled_back(),
    };
    Answer::json(error.kind().status(), &problem)
}
