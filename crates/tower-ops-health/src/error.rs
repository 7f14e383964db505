use std::error::Error;
use std::fmt;

/// Why a check could not be run now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckNowError {
    /// There is no check of that name.
    NoSuchCheck,
    /// Nobody runs checks: see [`Health::run`](crate::Health::run).
    NotRunning,
}

impl fmt::Display for CheckNowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchCheck => "there is no check of that name",
            Self::NotRunning => "checks do not run: nothing polls Health::run",
        })
    }
}

impl Error for CheckNowError {}
