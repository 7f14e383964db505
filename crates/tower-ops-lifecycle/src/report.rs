use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::lifecycle::state::{LifecycleState, Moments};
use crate::phase::Trigger;

mod display;

pub(crate) use self::display::Seconds;

/// How a shutdown ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShutdownEnding {
    /// All parts were carried out.
    Completed,
    /// A second signal ended it at once.
    SecondSignal(Trigger),
    /// The process was [overdue](crate::LifecycleBuilder::exit_when_overdue) and exited.
    Overdue,
    /// The runtime ended before the shutdown did: `main` returned without awaiting
    /// [`run`](crate::Lifecycle::run).
    CutOff,
}

/// Why the pre-drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PreDrainEnd {
    /// It took its full time.
    Full,
    /// No new connection came for long enough.
    Quiet,
    /// There were no clients to wait for: the process was neither ready nor serving.
    Skipped,
}

/// How a participant of the drain ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParticipantOutcome {
    /// It ended by itself.
    Done,
    /// It did not end in time and was dropped.
    TimedOut,
    /// It panicked, with this message.
    Panicked(String),
    /// The shutdown ended before it did.
    Unfinished,
}

/// How a hook ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HookOutcome {
    /// It succeeded.
    Done,
    /// It failed, with this cause.
    Failed(String),
    /// It panicked, with this message.
    Panicked(String),
    /// It took too long and was dropped.
    TimedOut,
    /// The shutdown ended while it ran.
    Unfinished,
    /// There was no time left for it, or the shutdown ended before.
    NotRun,
}

/// A participant of the drain, and what it aborted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ParticipantReport {
    /// Its name.
    pub name: Cow<'static, str>,
    /// How it ended.
    pub outcome: ParticipantOutcome,
    /// How long it took.
    pub took: Duration,
    /// How many exchanges, guards or connections it aborted.
    pub aborted: u64,
    /// A line for each that it aborted, the first 100.
    pub lines: Vec<String>,
}

/// A hook, and how it ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HookReport {
    /// Its name.
    pub name: Cow<'static, str>,
    /// How it ended.
    pub outcome: HookOutcome,
    /// How long it took.
    pub took: Duration,
}

/// The report of a shutdown. Its text is a table for a terminal.
///
/// Cheap to clone. Returned by [`run`](crate::Lifecycle::run). There is one per lifecycle, and it
/// is logged once.
#[derive(Clone, Debug)]
pub struct ShutdownReport {
    pub(crate) facts: Arc<Facts>,
}

#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) ending: ShutdownEnding,
    pub(crate) trigger: Option<Trigger>,
    pub(crate) later: Vec<(Trigger, Duration)>,
    pub(crate) failure: Option<String>,
    pub(crate) uptime: Duration,
    pub(crate) total: Duration,
    pub(crate) pre_drain: Option<Duration>,
    pub(crate) pre_drain_end: Option<PreDrainEnd>,
    pub(crate) last_connection: Option<Duration>,
    pub(crate) drain: Option<Duration>,
    pub(crate) hooks_took: Option<Duration>,
    pub(crate) participants: Vec<ParticipantReport>,
    pub(crate) hooks: Vec<HookReport>,
}

impl ShutdownReport {
    pub(crate) fn new(state: &LifecycleState, ending: ShutdownEnding, now: Instant) -> Self {
        let moments = state.moments();
        let failure = state.steps.lock().failure();
        let waiting = state.hooks.lock().names();
        let progress = state.progress.lock();
        let facts = Facts {
            failure,
            uptime: now - state.created,
            hooks: hooks(&progress, waiting, now),
            ..Facts::of(ending, &moments, &progress, now)
        };
        Self {
            facts: Arc::new(facts),
        }
    }

    /// Returns how the shutdown ended.
    #[must_use]
    pub fn ending(&self) -> ShutdownEnding {
        self.facts.ending
    }

    /// Returns what began the shutdown. `None` if the runtime ended before any trigger.
    #[must_use]
    pub fn trigger(&self) -> Option<Trigger> {
        self.facts.trigger
    }

    /// Returns the later triggers, and how long after the first each came: at most 16.
    #[must_use]
    pub fn later_triggers(&self) -> &[(Trigger, Duration)] {
        &self.facts.later
    }

    /// Returns the start-up step that failed, and why.
    #[must_use]
    pub fn start_failure(&self) -> Option<&str> {
        self.facts.failure.as_deref()
    }

    /// Returns how long the process had been running at the end.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.facts.uptime
    }

    /// Returns how long the shutdown took, from the first trigger.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.facts.total
    }

    /// Returns how long the pre-drain took. `None` if it did not end.
    #[must_use]
    pub fn pre_drain(&self) -> Option<Duration> {
        self.facts.pre_drain
    }

    /// Returns why the pre-drain ended.
    #[must_use]
    pub fn pre_drain_end(&self) -> Option<PreDrainEnd> {
        self.facts.pre_drain_end
    }

    /// Returns how long after the trigger the last new connection of the pre-drain came. A
    /// pre-drain that is much longer is too long; one that is hardly longer is too short. `None` if
    /// none came, or if that is [not known](crate::LifecycleBuilder::last_connection).
    #[must_use]
    pub fn last_connection(&self) -> Option<Duration> {
        self.facts.last_connection
    }

    /// Returns how long the drain took. `None` if it did not end.
    #[must_use]
    pub fn drain(&self) -> Option<Duration> {
        self.facts.drain
    }

    /// Returns how long the hooks took. `None` if they did not begin.
    #[must_use]
    pub fn hooks_took(&self) -> Option<Duration> {
        self.facts.hooks_took
    }

    /// Returns the participants of the drain, in the order in which they began.
    #[must_use]
    pub fn participants(&self) -> &[ParticipantReport] {
        &self.facts.participants
    }

    /// Returns the hooks, in the order in which they ran or would have run.
    #[must_use]
    pub fn hooks(&self) -> &[HookReport] {
        &self.facts.hooks
    }

    /// Returns how much all participants aborted.
    #[must_use]
    pub fn aborted(&self) -> u64 {
        let aborted = self.facts.participants.iter().map(|it| it.aborted);
        aborted.fold(0, u64::saturating_add)
    }

    /// Returns whether nothing was lost: the start-up did not fail, all participants and hooks
    /// ended well, and nothing was aborted.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let facts = &*self.facts;
        let drained = |it: &ParticipantReport| it.outcome == ParticipantOutcome::Done;
        facts.ending == ShutdownEnding::Completed
            && facts.failure.is_none()
            && facts.participants.iter().all(drained)
            && facts.hooks.iter().all(|it| it.outcome == HookOutcome::Done)
            && self.aborted() == 0
    }
}

impl Facts {
    fn of(ending: ShutdownEnding, moments: &Moments, progress: &Progress, now: Instant) -> Self {
        let since = |at: Instant| {
            let first = moments.first.map_or(at, |first| first.at);
            at.saturating_duration_since(first)
        };
        let later = moments.later.iter().map(|it| (it.trigger, since(it.at)));
        let pre_drained = progress.pre_drain.map(|(at, _)| at);
        let drain = pre_drained.and_then(|began| Some(progress.drained? - began));
        let last = progress.last_connection.map(since);
        let participants = progress.participants.iter().map(|it| ParticipantReport {
            name: it.name.clone(),
            outcome: it.outcome.clone(),
            took: it.ended.unwrap_or(now) - it.began,
            aborted: it.aborted,
            lines: it.lines.clone(),
        });
        Self {
            ending,
            trigger: moments.first.map(|first| first.trigger),
            later: later.collect(),
            failure: None,
            uptime: Duration::ZERO,
            total: since(now),
            pre_drain: pre_drained.map(since),
            pre_drain_end: progress.pre_drain.map(|(_, end)| end),
            last_connection: last.filter(|last| !last.is_zero()),
            drain,
            hooks_took: progress.drained.map(|began| now - began),
            participants: participants.collect(),
            hooks: Vec::new(),
        }
    }
}

fn hooks(progress: &Progress, waiting: Vec<Cow<'static, str>>, now: Instant) -> Vec<HookReport> {
    let running = progress.hook.iter().map(|(name, began)| HookReport {
        name: name.clone(),
        outcome: HookOutcome::Unfinished,
        took: now - *began,
    });
    let waiting = waiting.into_iter().map(|name| HookReport {
        name,
        outcome: HookOutcome::NotRun,
        took: Duration::ZERO,
    });
    let ran = progress.hooks.iter().cloned();
    ran.chain(running).chain(waiting).collect()
}

/// How far a shutdown has come. It is recorded as it goes, so a report can be made at any moment.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) pre_drain: Option<(Instant, PreDrainEnd)>,
    pub(crate) last_connection: Option<Instant>,
    pub(crate) drain_deadline: Option<Instant>,
    pub(crate) drained: Option<Instant>,
    pub(crate) participants: Vec<Participant>,
    pub(crate) hooks: Vec<HookReport>,
    /// The hook that runs.
    pub(crate) hook: Option<(Cow<'static, str>, Instant)>,
}

#[derive(Debug)]
pub(crate) struct Participant {
    pub(crate) name: Cow<'static, str>,
    pub(crate) began: Instant,
    pub(crate) ended: Option<Instant>,
    pub(crate) outcome: ParticipantOutcome,
    pub(crate) aborted: u64,
    pub(crate) lines: Vec<String>,
}

/// How many participants are reported. Later ones take part without a report.
const MOST_PARTICIPANTS: usize = 256;
/// How many lines of what it aborted are kept for each.
const MOST_LINES: usize = 100;

impl Progress {
    /// Adds a participant. Returns its place, or `None` if there are too many.
    pub(crate) fn begin(&mut self, name: Cow<'static, str>, now: Instant) -> Option<usize> {
        if self.participants.len() >= MOST_PARTICIPANTS {
            return None;
        }
        self.participants.push(Participant {
            name,
            began: now,
            ended: None,
            outcome: ParticipantOutcome::Unfinished,
            aborted: 0,
            lines: Vec::new(),
        });
        Some(self.participants.len() - 1)
    }

    pub(crate) fn end(&mut self, place: Option<usize>, outcome: ParticipantOutcome, now: Instant) {
        if let Some(participant) = place.and_then(|place| self.participants.get_mut(place)) {
            participant.outcome = outcome;
            participant.ended = Some(now);
        }
    }

    pub(crate) fn aborted(&mut self, place: Option<usize>, count: u64, line: Option<&str>) {
        if let Some(participant) = place.and_then(|place| self.participants.get_mut(place)) {
            participant.aborted = participant.aborted.saturating_add(count);
            if let Some(line) = line
                && participant.lines.len() < MOST_LINES
            {
                participant.lines.push(display::line(line));
            }
        }
    }
}
