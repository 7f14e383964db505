//! How far a shutdown has come: noted as it goes, so that it can be reported at any
//! moment.

use std::borrow::Cow;

use tokio::time::Instant;

use crate::report::{HookReport, ParticipantOutcome, PreDrainEnd};
use crate::text;

#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) pre_drain: Option<(Instant, PreDrainEnd)>,
    pub(crate) last_connection: Option<Instant>,
    pub(crate) drain_deadline: Option<Instant>,
    pub(crate) drained: Option<Instant>,
    pub(crate) participants: Vec<Participant>,
    pub(crate) hooks: Vec<HookReport>,
    /// The one that runs.
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

/// How many participants are reported: those after it take part all the same.
const MOST_PARTICIPANTS: usize = 256;
/// How many lines of what it aborted are kept for each.
const MOST_LINES: usize = 100;

impl Progress {
    /// Where the participant stands, if it is not one too many.
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
                participant.lines.push(text::line(line));
            }
        }
    }
}
