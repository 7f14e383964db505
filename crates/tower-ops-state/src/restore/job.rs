//! A restore from the envelope to the last commit.
//!
//! It runs on a thread that may block. Participants decode, migrate and validate; the fence closes;
//! participants capture, for a rollback; the [`CommitGate`] is passed; participants commit. Until
//! the gate whoever waits can abandon the restore, and nothing has changed. Behind it the restore
//! goes on to its end, and after an error the participants that committed get back what they had.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Restore, Restored, RestoredParticipant};
use crate::audit::AuditEntry;
use crate::capture::length_and_digest;
use crate::envelope::{Entry, Envelope, Head, Received, Segments};
use crate::error::{ErrorKind, StateError};
use crate::fence::Purpose;
use crate::participant::{ErasedParticipant, Isolated, Snapshot};
use crate::state::{Permit, StateInner, spawn};

const RUNNING: u8 = 0;
const ABANDONED: u8 = 1;
const COMMITTING: u8 = 2;

/// Decides one race: either whoever waits abandons the operation, or it begins to commit. Never
/// both.
#[derive(Clone, Default)]
pub(crate) struct CommitGate {
    phase: Arc<AtomicU8>,
}

impl CommitGate {
    /// Abandons the operation. Returns `false` if it is already committing.
    fn abandon(&self) -> bool {
        self.leave_running(ABANDONED)
    }

    /// Begins to commit. Returns `false` if the operation was abandoned.
    fn begin_commit(&self) -> bool {
        self.leave_running(COMMITTING)
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.phase.load(Ordering::Acquire) == ABANDONED
    }

    pub(crate) fn abandon_on_drop(&self) -> AbandonOnDrop {
        AbandonOnDrop(self.clone())
    }

    fn leave_running(&self, to: u8) -> bool {
        let left = self
            .phase
            .compare_exchange(RUNNING, to, Ordering::AcqRel, Ordering::Acquire);
        left.is_ok() || left == Err(to)
    }
}

pub(crate) struct AbandonOnDrop(CommitGate);

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
    ) -> Result<Restored, StateError> {
        let gate = CommitGate::default();
        let _abandon = gate.abandon_on_drop();
        let job = RestoreJob {
            state: Arc::clone(self),
            how,
            gate: gate.clone(),
            isolated: Isolated::new(Handle::current(), deadline),
            entry: entry.clone(),
        };
        let mut running = spawn(move || {
            let result = job.run(envelope);
            // An abandoned attempt was already published by whoever waited.
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
        tokio::select! {
            biased;
            result = &mut running => return result.map_err(StateError::internal)?,
            () = sleep_until(deadline) => {}
        }
        if gate.abandon() {
            return late("nothing was changed");
        }
        // It commits or rolls back within that time, unless a participant blocks its thread.
        match timeout(allowed, running).await {
            Ok(result) => result.map_err(StateError::internal)?,
            Err(_) => late("a participant is still committing, and the result is not known"),
        }
    }
}

struct RestoreJob {
    state: Arc<StateInner>,
    how: Restore,
    gate: CommitGate,
    isolated: Isolated,
    entry: AuditEntry,
}

/// A participant with the data that it will commit.
struct Prepared<'a> {
    participant: &'a dyn ErasedParticipant,
    data: Box<dyn Snapshot>,
    entry: &'a Entry,
}

impl RestoreJob {
    fn run(&self, envelope: Received) -> Result<Restored, StateError> {
        let envelope = envelope.decode(self.state.settings.max_size)?;
        let size = envelope.len() as u64;
        let Envelope { head, data } = Envelope::open(envelope, self.state.signing_key.as_ref())?;
        let digest = head.digest();
        self.entry.set_contents(size, &digest);
        self.check_head(&head)?;
        let missing = self.missing(&head)?;
        let unknown = self.unknown(&head)?;
        let prepared = self.prepare(&head, data)?;
        let mut restored = Restored {
            dry_run: self.how.dry_run,
            generation: head.generation.max(self.state.fence.generation()),
            application_version: head.application_version.clone(),
            instance: head.instance.clone(),
            created: head.created.clone(),
            digest,
            participants: prepared.iter().map(report).collect(),
            missing,
            unknown,
        };
        if self.how.dry_run {
            self.compare(&prepared, &mut restored)?;
        } else {
            restored.generation = self.commit(prepared, head.generation)?;
        }
        Ok(restored)
    }

    fn check_head(&self, head: &Head) -> Result<(), StateError> {
        if head.application != self.state.settings.application {
            let text = "the envelope is of another application";
            return Err(ErrorKind::Refused.error(text));
        }
        let generation = self.state.fence.generation();
        if head.generation < generation && !self.how.force {
            let theirs = head.generation;
            let text =
                format!("the envelope has generation {theirs}, and this instance {generation}");
            return Err(ErrorKind::Generation.error(text));
        }
        Ok(())
    }

    /// Returns our participants that are not in the envelope.
    fn missing(&self, head: &Head) -> Result<Vec<String>, StateError> {
        let is_missing = |name: &&str| head.participants.iter().all(|it| it.name != *name);
        let names = self.state.settings.participants.iter().map(|it| it.name());
        let missing = names.filter(is_missing).map(str::to_owned).collect();
        let is_allowed = self.how.allow_missing || self.state.settings.allow_missing;
        let text = "it is not in the envelope; ?allow_missing=1 keeps its state as it is";
        none_or_allowed(missing, is_allowed, text)
    }

    /// Returns the participants of the envelope that this instance does not have.
    fn unknown(&self, head: &Head) -> Result<Vec<String>, StateError> {
        let ours = &self.state.settings.participants;
        let is_unknown = |name: &&String| ours.iter().all(|it| it.name() != **name);
        let names = head.participants.iter().map(|entry| &entry.name);
        let unknown = names.filter(is_unknown).cloned().collect();
        let is_allowed = self.how.allow_unknown || self.state.settings.allow_unknown;
        let text = "it is unknown to this instance; ?allow_unknown=1 drops its data";
        none_or_allowed(unknown, is_allowed, text)
    }

    fn prepare<'a>(
        &'a self,
        head: &'a Head,
        data: Vec<Segments>,
    ) -> Result<Vec<Prepared<'a>>, StateError> {
        let entries = head.participants.iter().zip(data);
        let mut entries: HashMap<_, _> = entries
            .map(|(entry, json)| (&*entry.name, (entry, json)))
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
                let text = format!(
                    "its schema has version {theirs}, and this instance knows version {ours}"
                );
                let refused = ErrorKind::Refused.error(text);
                return Err(refused.with_participant(&entry.name));
            }
            let prepare = || participant.prepare(theirs, json);
            prepared.push(Prepared {
                participant: &**participant,
                data: self.isolated.call(&entry.name, prepare)?,
                entry,
            });
        }
        Ok(prepared)
    }

    fn capture(&self, it: &Prepared<'_>) -> Result<Box<dyn Snapshot>, StateError> {
        self.check_abandoned()?;
        let capture = || it.participant.capture();
        self.isolated.call(it.participant.name(), capture)
    }

    fn compare(
        &self,
        prepared: &[Prepared<'_>],
        restored: &mut Restored,
    ) -> Result<(), StateError> {
        for (it, reported) in prepared.iter().zip(&mut restored.participants) {
            let now = length_and_digest(&*self.capture(it)?)?;
            reported.changes = Some(now != length_and_digest(&*it.data)?);
        }
        Ok(())
    }

    fn commit(&self, prepared: Vec<Prepared<'_>>, generation: u64) -> Result<u64, StateError> {
        let late = "the writes that had begun did not end in time; nothing was changed";
        let pause = self.state.fence.pause(Purpose::Restore);
        let pause = self.isolated.wait(late, pause)?;
        let mut before = Vec::with_capacity(prepared.len());
        for it in &prepared {
            let captured = self.capture(it);
            before.push(captured.map_err(|error| error.add("nothing was changed"))?);
        }
        // Checked again: the instance may have become ready while the body was received.
        self.state.check_time(self.how)?;
        if !self.gate.begin_commit() {
            return Err(StateError::abandoned());
        }
        let participants: Vec<_> = prepared.iter().map(|it| it.participant).collect();
        for (at, it) in prepared.into_iter().enumerate() {
            let commit = || it.participant.commit(it.data);
            if let Err(error) = self.isolated.call(it.participant.name(), commit) {
                // With the one that failed, as it may have committed a part.
                before.truncate(at + 1);
                return Err(self.roll_back(&participants, before, error));
            }
        }
        let generation = pause.take(generation);
        self.state.notify_restored();
        Ok(generation)
    }

    fn roll_back(
        &self,
        participants: &[&dyn ErasedParticipant],
        before: Vec<Box<dyn Snapshot>>,
        mut error: StateError,
    ) -> StateError {
        // With a deadline of its own: the other one may have passed.
        let isolated = self
            .isolated
            .until(Instant::now() + self.state.settings.restore_timeout);
        let mut is_whole = true;
        // In reverse order, as later participants may depend on earlier ones.
        for (participant, data) in participants.iter().zip(before).rev() {
            let commit = || participant.commit(data);
            if let Err(failed) = isolated.call(participant.name(), commit) {
                is_whole = false;
                error = error.add(&format!("rolling back {failed}"));
            }
        }
        if !is_whole {
            self.state.notify_inconsistent();
        }
        error.with_rolled_back(is_whole)
    }

    fn check_abandoned(&self) -> Result<(), StateError> {
        if self.gate.is_abandoned() {
            return Err(StateError::abandoned());
        }
        Ok(())
    }
}

fn none_or_allowed(
    names: Vec<String>,
    is_allowed: bool,
    text: &str,
) -> Result<Vec<String>, StateError> {
    match names.first() {
        Some(first) if !is_allowed => Err(ErrorKind::Refused.error(text).with_participant(first)),
        _ => Ok(names),
    }
}

fn report(it: &Prepared<'_>) -> RestoredParticipant {
    RestoredParticipant {
        name: it.entry.name.clone(),
        version: it.entry.version,
        migrated: it.entry.version != it.participant.version(),
        length: it.entry.length,
        changes: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_decides() {
        let gate = CommitGate::default();
        drop(gate.abandon_on_drop());
        assert!(gate.is_abandoned());
        assert!(gate.abandon());
        assert!(!gate.begin_commit());

        let gate = CommitGate::default();
        assert!(gate.begin_commit());
        assert!(!gate.abandon());
        assert!(!gate.is_abandoned());
    }
}
