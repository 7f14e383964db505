use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::phase::Trigger;
use crate::report::Seconds;

/// The state of a start-up step.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepState {
    /// It is registered and has not begun.
    Pending,
    /// It runs.
    Running,
    /// It is done.
    Done,
    /// It failed, with this cause.
    Failed(String),
    /// It panicked, with this message.
    Panicked(String),
    /// A shutdown was triggered before it was done.
    Interrupted(Trigger),
    /// Its future was dropped before it was done.
    Dropped,
}

impl fmt::Display for StepState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("pending"),
            Self::Running => f.write_str("running"),
            Self::Done => f.write_str("done"),
            Self::Failed(cause) => write!(f, "failed: {cause}"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::Interrupted(trigger) => write!(f, "interrupted by {trigger}"),
            Self::Dropped => f.write_str("dropped"),
        }
    }
}

/// One step of a start-up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StepReport {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its state.
    pub state: StepState,
    /// How long after the lifecycle was built it began. `None` if it has not.
    pub began_after: Option<Duration>,
    /// How long it took, or has been running. `None` if it has not begun.
    pub took: Option<Duration>,
}

/// The report of a start-up. Its text is a table for a terminal. Made by
/// [`Lifecycle::startup_report`](crate::Lifecycle::startup_report).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StartupReport {
    /// How long it took until the process was ready. `None` if it was not ready yet.
    pub ready_after: Option<Duration>,
    /// The steps: those that the builder registered, and then the others as they began.
    pub steps: Vec<StepReport>,
}

impl fmt::Display for StartupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ready_after {
            Some(after) => write!(f, "ready after {}", Seconds(after))?,
            None => f.write_str("not ready")?,
        }
        let width = self.steps.iter().map(|step| step.name.chars().count());
        let width = width.max().unwrap_or(0);
        for step in &self.steps {
            let took = step
                .took
                .map_or_else(String::new, |took| Seconds(took).to_string());
            write!(f, "\n  {:width$}  {took:>9}  {}", step.name, step.state)?;
        }
        Ok(())
    }
}

/// The steps of a start-up.
#[derive(Debug)]
pub(crate) struct Steps {
    steps: Vec<Step>,
    registered: usize,
}

#[derive(Debug)]
struct Step {
    name: Cow<'static, str>,
    state: StepState,
    began: Option<Instant>,
    ended: Option<Instant>,
}

impl Step {
    const fn new(name: Cow<'static, str>) -> Self {
        Self {
            name,
            state: StepState::Pending,
            began: None,
            ended: None,
        }
    }
}

impl Steps {
    pub(crate) fn new(registered: &[Cow<'static, str>]) -> Self {
        Self {
            steps: registered.iter().cloned().map(Step::new).collect(),
            registered: registered.len(),
        }
    }

    /// Begins a step and returns its place: that of a pending or dropped step of the same name, or
    /// a new one.
    pub(crate) fn begin(&mut self, name: Cow<'static, str>, now: Instant) -> usize {
        let again = self.steps.iter().position(|step| {
            step.name == name && matches!(step.state, StepState::Pending | StepState::Dropped)
        });
        let place = again.unwrap_or_else(|| {
            self.steps.push(Step::new(name));
            self.steps.len() - 1
        });
        let step = &mut self.steps[place];
        step.state = StepState::Running;
        step.began = Some(now);
        step.ended = None;
        place
    }

    pub(crate) fn end(&mut self, place: usize, state: StepState, now: Instant) -> Duration {
        let step = &mut self.steps[place];
        step.state = state;
        step.ended = Some(now);
        step.began.map_or(Duration::ZERO, |began| now - began)
    }

    /// Whether some of the registered steps are not done.
    pub(crate) fn are_awaited(&self) -> bool {
        let registered = self.steps.iter().take(self.registered);
        { registered }.any(|step| step.state != StepState::Done)
    }

    /// Whether there are registered steps, all of them are done, and no other runs.
    pub(crate) fn are_done(&self) -> bool {
        let (registered, others) = self.steps.split_at(self.registered);
        !registered.is_empty()
            && registered.iter().all(|step| step.state == StepState::Done)
            && others.iter().all(|step| step.state != StepState::Running)
    }

    /// The first step that failed, and why.
    pub(crate) fn failure(&self) -> Option<String> {
        self.steps.iter().find_map(|step| match &step.state {
            StepState::Failed(_) | StepState::Panicked(_) => {
                Some(format!("{} {}", step.name, step.state))
            }
            _ => None,
        })
    }

    pub(crate) fn report(
        &self,
        created: Instant,
        ready: Option<Instant>,
        now: Instant,
    ) -> StartupReport {
        let report = |step: &Step| StepReport {
            name: step.name.clone(),
            state: step.state.clone(),
            began_after: step.began.map(|began| began - created),
            took: step.began.map(|began| step.ended.unwrap_or(now) - began),
        };
        StartupReport {
            ready_after: ready.map(|ready| ready - created),
            steps: self.steps.iter().map(report).collect(),
        }
    }
}
