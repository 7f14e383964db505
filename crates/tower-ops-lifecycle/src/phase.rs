use std::fmt;

use tokio::sync::watch;
use tokio::time::Instant;

/// The phase of a process's life. Phases are ordered and never go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// It starts up and is not ready yet.
    Starting,
    /// It is ready for requests.
    Ready,
    /// It is about to stop: it reports that it is not ready, and still serves clients that do not
    /// know yet.
    PreDraining,
    /// It accepts nothing new, ends what is in flight, and runs its hooks.
    Draining,
    /// The shutdown is over; the process may exit.
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

    /// Returns the phase as logs and the label of `lifecycle_phase` have it.
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

    /// Returns whether a shutdown has been triggered.
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
    /// Returns the trigger as logs and reports have it.
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

    /// Returns whether it is a signal. A second signal ends the process at once.
    #[must_use]
    pub const fn is_signal(self) -> bool {
        matches!(self, Self::Terminate | Self::Interrupt)
    }

    /// Returns the exit code of a process that this ends at once: 128 plus the signal's number, as
    /// in a shell; 1 for all others.
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

/// A trigger and when it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Triggered {
    pub(crate) trigger: Trigger,
    pub(crate) at: Instant,
}

/// A subscription to the phases of a [`Lifecycle`](crate::Lifecycle). Made by
/// [`Lifecycle::subscribe`](crate::Lifecycle::subscribe).
///
/// It has the latest phase: phases that end before they are read are skipped.
#[derive(Clone)]
pub struct Subscription {
    phases: watch::Receiver<Phase>,
    seen: Phase,
}

impl Subscription {
    pub(crate) fn new(phases: watch::Receiver<Phase>) -> Self {
        let seen = *phases.borrow();
        Self { phases, seen }
    }

    /// Returns the current phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phases.borrow()
    }

    /// Waits for a phase later than the one that this returned last; at first, later than the one
    /// at the time of the subscription. Returns `None` after [`Phase::Stopped`], or if the
    /// lifecycle is dropped.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future loses no phase.
    pub async fn changed(&mut self) -> Option<Phase> {
        if self.seen == Phase::Stopped {
            return None;
        }
        let seen = self.seen;
        let later = *self.phases.wait_for(|phase| *phase > seen).await.ok()?;
        self.seen = later;
        Some(later)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("phase", &self.phase())
            .field("seen", &self.seen)
            .finish()
    }
}
