use std::fmt;

/// Where a process stands in its life. Phases are ordered, and never go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// It starts up, and wants no requests yet.
    Starting,
    /// It wants requests.
    Ready,
    /// It is about to stop: it says that it is not ready, and still serves whoever
    /// has not noticed.
    PreDraining,
    /// It takes nothing new, ends what it has, and runs its hooks.
    Draining,
    /// All is done; the process may end.
    Stopped,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 5] = [
        Self::Starting,
        Self::Ready,
        Self::PreDraining,
        Self::Draining,
        Self::Stopped,
    ];

    /// The phase as it stands in logs and in the label of `lifecycle_phase`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::PreDraining => "pre_draining",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }

    /// Whether a shutdown has been triggered.
    #[must_use]
    pub const fn is_stopping(self) -> bool {
        !matches!(self, Self::Starting | Self::Ready)
    }

    pub(crate) const fn index(self) -> u8 {
        self as u8
    }

    pub(crate) const fn from_index(index: u8) -> Self {
        match index {
            0 => Self::Starting,
            1 => Self::Ready,
            2 => Self::PreDraining,
            3 => Self::Draining,
            _ => Self::Stopped,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
