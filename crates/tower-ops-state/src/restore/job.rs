//! A restore, from the envelope to the last commit, on a thread that may block.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::attempt::Attempt;
use crate::capture::length_and_digest;
use crate::envelope::{Entry, Envelope, Head};
use crate::error::{ErrorKind, StateError};
use crate::fence::Purpose;
use crate::guarded::Guarded;
use crate::member::{Data, Member};
use crate::record::Record;
use crate::restore::{Restore, Restored, RestoredParticipant};
use crate::segments::Segments;
use crate::shared::Shared;

pub(crate) struct RestoreJob {
    pub(crate) shared: Arc<Shared>,
    pub(crate) how: Restore,
    pub(crate) attempt: Attempt,
    pub(crate) deadline: Instant,
    pub(crate) handle: Handle,
    pub(crate) record: Record,
}

/// What is ready to be committed.
struct Prepared<'a> {
    member: &'a dyn Member,
    data: Data,
    entry: &'a Entry,
}

impl Prepared<'_> {
    fn is_migrated(&self) -> bool {
        self.entry.version != self.member.version()
    }
}

impl RestoreJob {
    pub(crate) fn run(&self, envelope: Segments) -> Result<Restored, StateError> {
        let size = envelope.len() as u64;
        let Envelope { head, data } = Envelope::open(envelope, self.shared.signing_key.as_ref())?;
        let digest = head.digest();
        self.record.contents(size, &digest);
        self.check_head(&head)?;
        let missing = self.missing(&head)?;
        let unknown = self.unknown(&head)?;
        let guarded = Guarded::new(self.handle.clone(), self.deadline);
        let prepared = self.prepare(&guarded, &head, data)?;
        let mut restored = Restored {
            dry_run: self.how.dry_run,
            generation: head.generation.max(self.shared.fence.generation()),
            application_version: head.application_version.clone(),
            instance: head.instance.clone(),
            created: head.created.clone(),
            digest,
            participants: prepared.iter().map(describe).collect(),
            missing,
            unknown,
        };
        if self.how.dry_run {
            self.compare(&guarded, &prepared, &mut restored)?;
        } else {
            restored.generation = self.commit(&guarded, prepared, head.generation)?;
        }
        Ok(restored)
    }

    fn check_head(&self, head: &Head) -> Result<(), StateError> {
        if head.application != self.shared.application {
            return Err(StateError::new(
                ErrorKind::Refused,
                "the envelope is that of another application",
            ));
        }
        let generation = self.shared.fence.generation();
        if head.generation < generation && !self.how.force {
            return Err(StateError::new(
                ErrorKind::Generation,
                format!(
                    "the envelope is of generation {}, and here is {generation} already",
                    head.generation
                ),
            ));
        }
        Ok(())
    }

    fn missing(&self, head: &Head) -> Result<Vec<String>, StateError> {
        let is_missing = |name: &&str| head.participants.iter().all(|it| it.name != *name);
        let names = self.shared.members.iter().map(|member| member.name());
        let missing: Vec<_> = names.filter(is_missing).map(str::to_owned).collect();
        match missing.first() {
            Some(first) if !(self.how.allow_missing || self.shared.allow_missing) => {
                let message = "it is not in the envelope; ?allow_missing=1 leaves it as it is";
                Err(StateError::new(ErrorKind::Refused, message).with_participant(first))
            }
            _ => Ok(missing),
        }
    }

    fn unknown(&self, head: &Head) -> Result<Vec<String>, StateError> {
        let names = head.participants.iter().map(|entry| &entry.name);
        let unknown: Vec<_> = names
            .filter(|name| self.shared.member(name).is_none())
            .cloned()
            .collect();
        match unknown.first() {
            Some(first) if !(self.how.allow_unknown || self.shared.allow_unknown) => {
                let message = "it is unknown here; ?allow_unknown=1 drops its data";
                Err(StateError::new(ErrorKind::Refused, message).with_participant(first))
            }
            _ => Ok(unknown),
        }
    }

    fn prepare<'a>(
        &'a self,
        guarded: &Guarded,
        head: &'a Head,
        data: Vec<Segments>,
    ) -> Result<Vec<Prepared<'a>>, StateError> {
        let mut entries: HashMap<_, _> = head
            .participants
            .iter()
            .zip(data)
            .map(|(entry, json)| (&*entry.name, (entry, json)))
            .collect();
        let mut prepared = Vec::with_capacity(entries.len());
        // In the order of here, whatever that of the envelope is.
        for member in &self.shared.members {
            let Some((entry, json)) = entries.remove(member.name()) else {
                continue;
            };
            self.check_wanted()?;
            let (theirs, ours) = (entry.version, member.version());
            if theirs > ours {
                let message = format!("its schema has version {theirs}, and here only {ours}");
                let refused = StateError::new(ErrorKind::Refused, message);
                return Err(refused.with_participant(&entry.name));
            }
            let data = guarded.call(&entry.name, || member.prepare(theirs, json))?;
            prepared.push(Prepared {
                member: &**member,
                data,
                entry,
            });
        }
        Ok(prepared)
    }

    fn compare(
        &self,
        guarded: &Guarded,
        prepared: &[Prepared<'_>],
        restored: &mut Restored,
    ) -> Result<(), StateError> {
        for (it, said) in prepared.iter().zip(&mut restored.participants) {
            self.check_wanted()?;
            let now = guarded.call(it.member.name(), || it.member.capture())?;
            let changes = length_and_digest(&*now)? != length_and_digest(&*it.data)?;
            said.changes = Some(changes);
        }
        Ok(())
    }

    fn commit(
        &self,
        guarded: &Guarded,
        prepared: Vec<Prepared<'_>>,
        generation: u64,
    ) -> Result<u64, StateError> {
        let late = "the writes that had begun did not end in time; nothing was changed";
        let pause = guarded.wait(late, self.shared.fence.pause(Purpose::Restore))?;
        let mut before = Vec::with_capacity(prepared.len());
        for it in &prepared {
            self.check_wanted()?;
            let captured = guarded.call(it.member.name(), || it.member.capture());
            before.push(captured.map_err(|error| error.add("nothing was changed"))?);
        }
        // Again: it may have become ready while the body came.
        self.shared.check_time(self.how)?;
        if !self.attempt.begin_commit() {
            return Err(unwanted());
        }
        let members: Vec<_> = prepared.iter().map(|it| it.member).collect();
        for (at, it) in prepared.into_iter().enumerate() {
            let committed = guarded.call(it.member.name(), || it.member.commit(it.data));
            if let Err(error) = committed {
                // The one that failed as well: it may be half done.
                before.truncate(at + 1);
                return Err(self.roll_back(&members, before, error));
            }
        }
        let generation = pause.take(generation);
        self.shared.restored();
        Ok(generation)
    }

    fn roll_back(
        &self,
        members: &[&dyn Member],
        before: Vec<Data>,
        mut error: StateError,
    ) -> StateError {
        // A deadline of its own: the one that has passed may be what failed.
        let deadline = Instant::now() + self.shared.limits.restore_timeout;
        let guarded = Guarded::new(self.handle.clone(), deadline);
        let mut is_whole = true;
        // The last first, as they depend on each other.
        for (member, data) in members.iter().zip(before).rev() {
            let name = member.name();
            if let Err(failed) = guarded.call(name, || member.commit(data)) {
                is_whole = false;
                error = error
                    .with_kind(ErrorKind::Inconsistent)
                    .add(&format!("rolling back {failed}"));
            }
        }
        if !is_whole {
            self.shared.inconsistent();
        }
        error.with_rolled_back(is_whole)
    }

    fn check_wanted(&self) -> Result<(), StateError> {
        if self.attempt.is_abandoned() {
            return Err(unwanted());
        }
        Ok(())
    }
}

fn unwanted() -> StateError {
    StateError::new(
        ErrorKind::TimedOut,
        "nobody waits for it any more; nothing was changed",
    )
}

fn describe(it: &Prepared<'_>) -> RestoredParticipant {
    RestoredParticipant {
        name: it.entry.name.clone(),
        version: it.entry.version,
        migrated: it.is_migrated(),
        length: it.entry.length,
        changes: None,
    }
}
