use std::borrow::Cow;
use std::fmt;

use metrics::{Gauge, Key, KeyName, Label, Level, Metadata, Recorder};

use crate::metrics::{LateCounter, Sink};

/// Why a resource of a [`Registry`](super::Registry) is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RegistryCloseReason {
    /// Nobody used it for too long.
    Idle,
    /// It failed its health check.
    Unhealthy,
    /// Somebody asked for it.
    Manual,
    /// All are closed.
    Shutdown,
}

impl RegistryCloseReason {
    const ALL: [Self; 4] = [Self::Idle, Self::Unhealthy, Self::Manual, Self::Shutdown];

    /// The reason as metrics name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Unhealthy => "unhealthy",
            Self::Manual => "manual",
            Self::Shutdown => "shutdown",
        }
    }
}

/// How a close went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseOutcome {
    /// The closer came to its end.
    Closed,
    /// The closer took longer than the close timeout and was dropped.
    TimedOut,
    /// The closer panicked.
    Panicked,
    /// The runtime shut down first; the resource was dropped.
    Dropped,
    /// Somebody still uses it: the closer runs when they are done.
    InUse,
}

impl CloseOutcome {
    const ALL: [Self; 5] = [
        Self::Closed,
        Self::TimedOut,
        Self::Panicked,
        Self::Dropped,
        Self::InUse,
    ];

    /// The outcome as metrics name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::TimedOut => "timed_out",
            Self::Panicked => "panicked",
            Self::Dropped => "dropped",
            Self::InUse => "in_use",
        }
    }
}

impl fmt::Display for RegistryCloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for CloseOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How [`close_all`](super::Registry::close_all) went.
#[derive(Clone, Debug, Default)]
#[must_use = "says what could not be closed"]
#[non_exhaustive]
pub struct CloseAllReport {
    /// How many were closed in order.
    pub closed: usize,
    /// The names of those that were not, and why.
    pub failed: Vec<(Cow<'static, str>, CloseOutcome)>,
}

impl CloseAllReport {
    pub(super) fn add(&mut self, name: Cow<'static, str>, outcome: CloseOutcome) {
        if outcome == CloseOutcome::Closed {
            self.closed += 1;
        } else {
            self.failed.push((name, outcome));
        }
    }
}

impl fmt::Display for CloseAllReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} closed", self.closed)?;
        for (name, outcome) in &self.failed {
            write!(f, "\n  {name}: {outcome}")?;
        }
        Ok(())
    }
}

const REGISTERED: &str = "registry_connections";
const CLOSED: &str = "registry_connections_closed_total";
const METADATA: &Metadata<'static> =
    &Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// Counts. The names that resources have are no labels: there is no bound to them.
pub(crate) struct Meter {
    registered: Gauge,
    /// Each has a series once it has counted something: there are more than a dozen.
    closed: Vec<LateCounter>,
}

impl Meter {
    pub(super) fn new(sink: &Sink) -> Self {
        sink.with(|recorder| Self::register(sink, recorder))
    }

    fn register(sink: &Sink, recorder: &dyn Recorder) -> Self {
        recorder.describe_gauge(
            KeyName::from(REGISTERED),
            None,
            "Resources that are not closed yet".into(),
        );
        recorder.describe_counter(
            KeyName::from(CLOSED),
            None,
            "Resources that were closed, by reason and outcome".into(),
        );
        let closed = RegistryCloseReason::ALL.iter().flat_map(|reason| {
            CloseOutcome::ALL.iter().map(|outcome| {
                let labels = vec![
                    Label::from_static_parts("reason", reason.as_str()),
                    Label::from_static_parts("outcome", outcome.as_str()),
                ];
                LateCounter::new(sink, Key::from_parts(CLOSED, labels))
            })
        });
        Self {
            closed: closed.collect(),
            registered: recorder.register_gauge(&Key::from_static_name(REGISTERED), METADATA),
        }
    }

    pub(super) fn registered(&self) {
        self.registered.increment(1.0);
    }

    pub(super) fn closed(&self, reason: RegistryCloseReason, outcome: CloseOutcome) {
        self.registered.decrement(1.0);
        let index = reason as usize * CloseOutcome::ALL.len() + outcome as usize;
        self.closed[index].increment(1);
    }
}
