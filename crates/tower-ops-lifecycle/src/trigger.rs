use std::fmt;

use tokio::time::Instant;

/// What began a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Trigger {
    /// SIGTERM.
    Terminate,
    /// SIGINT, or Ctrl-C.
    Interrupt,
    /// The [prestop endpoint](crate::PreStop).
    PreStop,
    /// A call of [`shutdown`](crate::Lifecycle::shutdown).
    Api,
    /// A start-up step that failed or panicked.
    FailedStart,
}

impl Trigger {
    /// The trigger as it stands in logs and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::PreStop => "prestop",
            Self::Api => "a call",
            Self::FailedStart => "a failed start",
        }
    }

    /// Whether it is a signal. The second of those ends the process at once.
    #[must_use]
    pub const fn is_signal(self) -> bool {
        matches!(self, Self::Terminate | Self::Interrupt)
    }

    /// What the process exits with if this ends it at once: 128 and the signal's
    /// number, as a shell has it; 1 for what is no signal.
    #[must_use]
    pub const fn exit_code(self) -> i32 {
        match self {
            Self::Terminate => 128 + 15,
            Self::Interrupt => 128 + 2,
            Self::PreStop | Self::Api | Self::FailedStart => 1,
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A trigger and its moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Triggered {
    pub(crate) trigger: Trigger,
    pub(crate) at: Instant,
}
