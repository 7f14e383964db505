use std::fmt;

use serde::{Serialize, Serializer};
use tower_ops_observe::Outcome;

/// What kind of work is tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// A request and its response.
    Request,
    /// A request that is answered with server-sent events, which goes on until one side leaves.
    /// Known from the response's head on.
    Stream,
    /// A request that took its connection over, such as one for a WebSocket. The exchange ends with
    /// its head, so this kind is in the history only.
    Upgrade,
    /// Work that is no request: [`RequestTracker::track`](crate::RequestTracker::track).
    Task,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Request, Self::Stream, Self::Upgrade, Self::Task];

    /// Returns the kind in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Stream => "stream",
            Self::Upgrade => "upgrade",
            Self::Task => "task",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How tracked work ended: the [outcomes](Outcome) of an exchange, and
/// [`Cancelled`](Self::Cancelled) for a task, which has neither head nor body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrackedOutcome {
    /// The whole response was handed to the transport; a task returned `Ok`.
    Completed,
    /// The service or the task returned an error, or the handler called
    /// [`fail`](crate::RequestHandle::fail).
    Failed,
    /// It returned a timeout error.
    TimedOut,
    /// The response body yielded an error.
    BodyFailed,
    /// The exchange was dropped before there was a response head.
    CancelledBeforeHead,
    /// The response body was dropped before its end.
    CancelledDuringBody,
    /// The task was dropped.
    Cancelled,
    /// It panicked.
    Panicked,
    /// The connection was handed over.
    Upgraded,
}

impl TrackedOutcome {
    /// Every outcome, in the order of the definition.
    pub const ALL: [Self; 9] = [
        Self::Completed,
        Self::Failed,
        Self::TimedOut,
        Self::BodyFailed,
        Self::CancelledBeforeHead,
        Self::CancelledDuringBody,
        Self::Cancelled,
        Self::Panicked,
        Self::Upgraded,
    ];

    /// Returns the outcome in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::BodyFailed => "body_failed",
            Self::CancelledBeforeHead => "cancelled_before_head",
            Self::CancelledDuringBody => "cancelled_during_body",
            Self::Cancelled => "cancelled",
            Self::Panicked => "panicked",
            Self::Upgraded => "upgraded",
        }
    }
}

impl From<Outcome> for TrackedOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::TimedOut => Self::TimedOut,
            Outcome::BodyFailed => Self::BodyFailed,
            Outcome::CancelledBeforeHead => Self::CancelledBeforeHead,
            Outcome::CancelledDuringBody => Self::CancelledDuringBody,
            Outcome::Panicked => Self::Panicked,
            Outcome::Upgraded => Self::Upgraded,
            // An outcome that this version does not know is counted as a failure.
            _ => Self::Failed,
        }
    }
}

impl fmt::Display for TrackedOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for TrackedOutcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_keeps_the_name_of_its_outcome() {
        for outcome in Outcome::ALL {
            assert_eq!(TrackedOutcome::from(outcome).as_str(), outcome.as_str());
        }
    }
}
