use std::fmt;

/// The status of a check, or of a group of checks. Ordered: the worse is the greater.
///
/// # Examples
///
/// ```
/// use tower_ops_health::Status;
///
/// assert!(Status::Down > Status::Degraded);
/// assert_eq!(Status::Degraded.to_string(), "degraded");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Status {
    /// It works as it should.
    Ok,
    /// It works, but not as it should.
    Degraded,
    /// It has not run yet, or its last result is too old.
    Unknown,
    /// It does not work.
    Down,
}

impl Status {
    /// Every status, the best first.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Degraded, Self::Unknown, Self::Down];

    /// Returns the word for it: `ok`, `degraded`, `unknown` or `down`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::Down => "down",
        }
    }

    /// Returns its value as a gauge.
    pub(crate) const fn gauge(self) -> f64 {
        match self {
            Self::Ok => 1.0,
            Self::Degraded => 0.5,
            Self::Unknown | Self::Down => 0.0,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the failure of a check means for its groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CheckKind {
    /// Down makes the group down: the process is of no use without it.
    Critical,
    /// Down makes the group degraded. The default, and right for what all instances share: if all
    /// of them were not ready at once, none would be left.
    #[default]
    Degrading,
    /// Visible in answers, without influence on the group.
    Informational,
}

impl CheckKind {
    /// Returns the word for it: `critical`, `degrading` or `informational`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Degrading => "degrading",
            Self::Informational => "informational",
        }
    }

    /// Returns what a status of such a check is for a group.
    pub(crate) fn weigh(self, status: Status) -> Status {
        match self {
            Self::Critical => status,
            Self::Degrading => status.min(Status::Degraded),
            Self::Informational => Status::Ok,
        }
    }
}
