use std::fmt;

/// How a check, or a group of checks, stands. Ordered: what is worse is greater.
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
    /// As it should be.
    Ok,
    /// It works, and somebody should look.
    Degraded,
    /// Nothing is known: it has not run yet, or not for too long.
    Unknown,
    /// It does not work.
    Down,
}

impl Status {
    /// Every status, the best first.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Degraded, Self::Unknown, Self::Down];

    /// The word for it: `ok`, `degraded`, `unknown` or `down`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::Down => "down",
        }
    }

    /// What a gauge shows of it.
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

/// What a check's failure means for the groups that it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Down makes the group down: this process is of no use without it.
    Critical,
    /// Down makes the group degraded. The default, and right for whatever other
    /// instances share: if all of them went unready at once, nobody would be left.
    #[default]
    Degrading,
    /// Reported, and without influence.
    Informational,
}

impl Kind {
    /// The word for it: `critical`, `degrading` or `informational`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Degrading => "degrading",
            Self::Informational => "informational",
        }
    }

    /// What a group makes of a check that stands so.
    pub(crate) fn weigh(self, status: Status) -> Status {
        match self {
            Self::Critical => status,
            Self::Degrading => status.min(Status::Degraded),
            Self::Informational => Status::Ok,
        }
    }
}
