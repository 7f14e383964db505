use std::fmt;

use serde::Serialize;

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
