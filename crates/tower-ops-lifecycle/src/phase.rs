use std::fmt;

use tokio::sync::watch;
use tokio::time::Instant;

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

/// Watches the phases of a [`Lifecycle`](crate::Lifecycle). Made by
/// [`Lifecycle::subscribe`](crate::Lifecycle::subscribe).
///
/// It shows the latest phase: one that ended before it was looked at is skipped.
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

    /// The phase of this moment.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phases.borrow()
    }

    /// Waits for a phase later than the last one seen here; at first, later than
    /// the one at the time of the subscription. `None` once [`Phase::Stopped`] was
    /// seen, or if the lifecycle is gone.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; no phase is lost by it.
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
