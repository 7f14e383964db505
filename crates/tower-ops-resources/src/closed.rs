//! Why and how resources were closed.

use std::borrow::Cow;
use std::fmt;

use metrics::{Gauge, Label};
use tower_ops_core::recorder::{Description, LateCounter, RecorderHandle};

/// Why a resource was closed: a label of the metric and a field of the log line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CloseReason {
    /// Nobody used it for the idle timeout.
    Idle,
    /// It failed its health check.
    Unhealthy,
    /// [`Registry::close`](crate::Registry::close) was called.
    Manual,
    /// The registry was dropped, or [`close_all`](crate::Registry::close_all) was called.
    Shutdown,
}

impl CloseReason {
    const ALL: [Self; 4] = [Self::Idle, Self::Unhealthy, Self::Manual, Self::Shutdown];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Unhealthy => "unhealthy",
            Self::Manual => "manual",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The outcome of a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseOutcome {
    /// The closer completed.
    Closed,
    /// The closer took longer than the close timeout and was dropped.
    TimedOut,
    /// The closer panicked.
    Panicked,
    /// The runtime shut down first; the resource was dropped.
    Dropped,
    /// It is still in use. The closer runs when the last guard is dropped.
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

    /// Returns the label of metrics.
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

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for CloseOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The result of [`Registry::close_all`](crate::Registry::close_all).
#[derive(Clone, Debug, Default)]
#[must_use = "lists what could not be closed"]
#[non_exhaustive]
pub struct CloseAllReport {
    /// How many resources were closed in order.
    pub closed: usize,
    /// The names of the others, and their outcomes.
    pub failed: Vec<(Cow<'static, str>, CloseOutcome)>,
}

impl CloseAllReport {
    pub(crate) fn add(&mut self, name: Cow<'static, str>, outcome: CloseOutcome) {
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

/// The metrics of a registry. Names of resources are no labels, since they are not bounded.
pub(crate) struct Metrics {
    registered: Gauge,
    /// By reason and outcome.
    closed: Vec<LateCounter>,
}

impl Metrics {
    pub(crate) fn new(recorder: &RecorderHandle) -> Self {
        recorder.describe(&[
            Description::gauge(REGISTERED, "Resources that are not closed yet"),
            Description::counter(CLOSED, "Closed resources, by reason and outcome"),
        ]);
        let closed = CloseReason::ALL.iter().flat_map(|reason| {
            CloseOutcome::ALL.iter().map(|outcome| {
                let labels = [
                    Label::from_static_parts("reason", reason.as_str()),
                    Label::from_static_parts("outcome", outcome.as_str()),
                ];
                LateCounter::new(recorder, CLOSED, &labels)
            })
        });
        Self {
            closed: closed.collect(),
            registered: recorder.gauge(REGISTERED, &[]),
        }
    }

    pub(crate) fn registered(&self) {
        self.registered.increment(1.0);
    }

    pub(crate) fn closed(&self, reason: CloseReason, outcome: CloseOutcome) {
        self.registered.decrement(1.0);
        let index = reason as usize * CloseOutcome::ALL.len() + outcome as usize;
        self.closed[index].increment(1);
    }
}
