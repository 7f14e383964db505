//! A restore from the envelope to the last commit.
//!
//! It runs on a thread that may block. Participants decode, migrate and validate; the fence closes;
//! participants capture, for a rollback; the [`CommitGate`] is passed; participants commit. Until
//! the gate the caller can abandon the restore, and nothing has changed. Behind it the restore goes
//! on to its end, and after an error the participants that committed get back what they had.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, OnceLock};

use tokio::time::{Instant, timeout, timeout_at};

use super::{Restore, Restored, RestoredParticipant};
use crate::audit::AuditEntry;
use crate::capture::Measure;
use crate::envelope::{Entry, Envelope, Received, Segments};
use crate::error::{ErrorKind, StateError, StateResult};
use crate::participant::{Data, ErasedParticipant, Isolated, Snapshot};
use crate::state::{Permit, StateInner, call_all, spawn};

/// Decides one race: either the caller abandons the operation, or it begins to commit. Never
/// both.
#[derive(Clone, Default)]
pub(crate) struct CommitGate {
    /// Whether it commits, as soon as that is decided.
    commits: Arc<OnceLock<bool>>,
}

impl CommitGate {
    /// Abandons the operation. Returns `false` if it is already committing.
    pub(super) fn abandon(&self) -> bool {
        !self.commits.get_or_init(|| false)
    }

    /// Begins to commit, unless the operation was abandoned.
    pub(super) fn begin_commit(&self) -> StateResult<()> {
        let commits = *self.commits.get_or_init(|| true);
        commits.then_some(()).ok_or_else(StateError::abandoned)
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.commits.get() == Some(&false)
    }
}

pub(crate) struct AbandonOnDrop(pub(crate) CommitGate);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl StateInner {
    /// Restores on a thread of its own. If the future is dropped before the first commit, nothing
    /// changes; after it the restore goes on to its end.
    pub(crate) async fn restore(
        self: &Arc<Self>,
        permit: Permit,
        envelope: Received,
        how: Restore,
        deadline: Instant,
        entry: &AuditEntry,
    ) -> StateResult<Restored> {
        let gate = CommitGate::default();
        let _abandon = AbandonOnDrop(gate.clone());
        let job = RestoreJob {
            state: Arc::clone(self),
            how,
            gate: gate.clone(),
            isolated: Isolated::until(deadline),
            entry: entry.clone(),
        };
        let running = spawn(move || {
            let result = job.run(envelope);
            // An abandoned attempt was already published by the caller.
            if !job.gate.is_abandoned() {
                job.entry.end_with(&result);
            }
            drop(permit);
            result
        })?;
        let allowed = self.settings.restore_timeout;
        let late = |text: &str| {
            let text = format!("the restore took longer than {allowed:?}; {text}");
            Err(ErrorKind::TimedOut.error(text))
        };
        let mut running = pin!(running);
        if let Ok(result) = timeout_at(deadline, &mut running).await {
            return result;
        }
        if gate.abandon() {
            return late("nothing was changed");
        }
        // It commits or rolls back within that time, unless a participant blocks its thread.
        let unknown = || late("a participant is still committing, and the result is not known");
        timeout(allowed, running)
            .await
            .unwrap_or_else(|_| unknown())
    }
}

struct RestoreJob {
    state: Arc<StateInner>,
    how: Restore,
    gate: CommitGate,
    isolated: Isolated,
    entry: AuditEntry,
}

/// A participant, and data that it can commit.
type Part<'a> = (&'a dyn ErasedParticipant, Data);

impl RestoreJob {
    fn run(&self, envelope: Received) -> StateResult<Restored> {
        let settings = &self.state.settings;
        let envelope = envelope.decode(settings.max_size)?;
        let size = envelope.len() as u64;
        let Envelope { head, data } = Envelope::open(envelope, self.state.signing_key.as_ref())?;
        let digest = head.digest();
        self.entry.set_contents(size, &digest);
        if head.application != settings.application {
            return Err(ErrorKind::Refused.error("the envelope is of another application"));
        }
        let (theirs, ours) = (head.generation, self.state.fence.generation());
        if theirs < ours && !self.how.force {
            let text = format!("the envelope has generation {theirs}, and this instance {ours}");
            return Err(ErrorKind::Generation.error(text));
        }

        let known = || settings.participants.iter().map(|it| it.name());
        let given = || head.participants.iter().map(|it| &*it.name);
        let is_allowed = self.how.allow_missing || settings.allow_missing;
        let text = "it is not in the envelope; ?allow_missing=1 keeps its state as it is";
        let missing = difference(known(), given(), is_allowed, text)?;
        let is_allowed = self.how.allow_unknown || settings.allow_unknown;
        let text = "it is unknown to this instance; ?allow_unknown=1 drops its data";
        let unknown = difference(given(), known(), is_allowed, text)?;

        let mut restored = Restored {
            dry_run: self.how.dry_run,
            generation: theirs.max(ours),
            application_version: head.application_version,
            instance: head.instance,
            created: head.created,
            digest,
            participants: Vec::with_capacity(data.len()),
            missing,
            unknown,
        };
        let prepared = self.prepare(head.participants, data, &mut restored)?;
        if self.how.dry_run {
            self.compare(&prepared, &mut restored)?;
        } else {
            restored.generation = self.commit(prepared, theirs)?;
        }
        Ok(restored)
    }

    fn prepare(
        &self,
        entries: Vec<Entry>,
        data: Vec<Segments>,
        restored: &mut Restored,
    ) -> StateResult<Vec<Part<'_>>> {
        let entries = entries.into_iter().zip(data);
        let mut entries: HashMap<_, _> = entries
            .map(|(entry, json)| (entry.name.clone(), (entry, json)))
            .collect();
        let mut prepared = Vec::with_capacity(entries.len());
        // In our order, whatever the order in the envelope is.
        for participant in &self.state.settings.participants {
            let Some((entry, json)) = entries.remove(participant.name()) else {
                continue;
            };
            self.check_abandoned()?;
            let (theirs, ours) = (entry.version, participant.version());
            if theirs > ours {
                let text = format!("its schema has version {theirs}, and here version {ours}");
                return Err(ErrorKind::Refused.error(text).with_participant(&entry.name));
            }
            let data = participant.prepare(&self.isolated, theirs, json)?;
            prepared.push((&**participant, data));
            restored.participants.push(RestoredParticipant {
                name: entry.name,
                version: theirs,
                migrated: theirs != ours,
                length: entry.length,
                changes: None,
            });
        }
        Ok(prepared)
    }

    fn compare(&self, prepared: &[Part<'_>], restored: &mut Restored) -> StateResult<()> {
        let measure = |data: &dyn Snapshot| Measure::of(data, 0, usize::MAX, &self.gate);
        for ((participant, data), report) in prepared.iter().zip(&mut restored.participants) {
            self.check_abandoned()?;
            let now = participant.capture(&self.isolated)?;
            report.changes = Some(measure(&*now)? != measure(&**data)?);
        }
        Ok(())
    }

    fn commit(&self, prepared: Vec<Part<'_>>, generation: u64) -> StateResult<u64> {
        let late = "the writes that had begun did not end in time; nothing was changed";
        let pause = self.isolated.wait(late, self.state.fence.pause())?;
        let mut before = Vec::with_capacity(prepared.len());
        for (participant, _) in &prepared {
            self.check_abandoned()?;
            let captured = participant.capture(&self.isolated);
            let captured = captured.map_err(|error| error.add("nothing was changed"))?;
            before.push((*participant, captured));
        }
        // Checked again: the instance may have become ready while the body was received.
        self.state.check_time(self.how)?;
        self.gate.begin_commit()?;
        for (at, (participant, data)) in prepared.into_iter().enumerate() {
            if let Err(error) = participant.commit(&self.isolated, data) {
                // With the one that failed, as it may have committed a part.
                before.truncate(at + 1);
                return Err(self.roll_back(before, error));
            }
        }
        let generation = pause.take(generation);
        call_all(&self.state.settings.on_restored);
        Ok(generation)
    }

    fn roll_back(&self, before: Vec<Part<'_>>, mut error: StateError) -> StateError {
        // With a deadline of its own: the other one may have passed.
        let deadline = Instant::now() + self.state.settings.restore_timeout;
        let isolated = Isolated::until(deadline);
        let mut is_whole = true;
        // In reverse order, as later participants may depend on earlier ones.
        for (participant, data) in before.into_iter().rev() {
            if let Err(failed) = participant.commit(&isolated, data) {
                is_whole = false;
                error = error.add(&format!("rolling back {failed}"));
            }
        }
        if !is_whole {
            tracing::error!("a rollback failed: participants may have parts of two states");
            call_all(&self.state.settings.on_inconsistent);
        }
        error.with_rolled_back(is_whole)
    }

    fn check_abandoned(&self) -> StateResult<()> {
        let is_wanted = !self.gate.is_abandoned();
        is_wanted.then_some(()).ok_or_else(StateError::abandoned)
    }
}

/// Returns the names that the others lack. If there are any, they have to be allowed.
fn difference<'a>(
    names: impl Iterator<Item = &'a str>,
    others: impl Iterator<Item = &'a str>,
    is_allowed: bool,
    text: &str,
) -> StateResult<Vec<String>> {
    let others: HashSet<_> = others.collect();
    let names = names.filter(|name| !others.contains(name));
    let names: Vec<_> = names.map(str::to_owned).collect();
    match names.first() {
        Some(first) if !is_allowed => Err(ErrorKind::Refused.error(text).with_participant(first)),
        _ => Ok(names),
    }
}
