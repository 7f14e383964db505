//! A restore: how it is asked for, and what it did.

mod job;

use std::time::SystemTime;

use serde::Serialize;

pub(crate) use self::job::{AbandonOnDrop, CommitGate};
use crate::audit::Operation;

/// How to restore. As strictly as possible by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restore {
    pub(crate) dry_run: bool,
    pub(crate) force: bool,
    pub(crate) allow_missing: bool,
    pub(crate) allow_unknown: bool,
    pub(crate) expected_generation: Option<u64>,
}

impl Restore {
    /// Restores as strictly as possible.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) const fn operation(self) -> Operation {
        if self.dry_run {
            Operation::DRY_RUN
        } else {
            Operation::RESTORE
        }
    }

    /// Sets whether to report what would change, and change nothing. Decodes, migrates and
    /// validates. Off by default.
    #[must_use]
    pub const fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Sets whether to restore although [`restore_when`](crate::StateBuilder::restore_when) does
    /// not allow it, or although the generation is older. Off by default.
    #[must_use]
    pub const fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Sets whether participants may be missing; they keep their state. Off by default.
    #[must_use]
    pub const fn allow_missing(mut self, allow: bool) -> Self {
        self.allow_missing = allow;
        self
    }

    /// Sets whether participants may be unknown; their data is dropped. Off by default.
    #[must_use]
    pub const fn allow_unknown(mut self, allow: bool) -> Self {
        self.allow_unknown = allow;
        self
    }

    /// Sets the generation that this instance must have at this moment. Any by default.
    #[must_use]
    pub const fn expected_generation(mut self, generation: u64) -> Self {
        self.expected_generation = Some(generation);
        self
    }
}

/// What was restored or, after a dry run, what would be restored.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Restored {
    /// Whether this was a dry run, which changed nothing.
    pub dry_run: bool,
    /// The generation that this instance has now, or would have.
    pub generation: u64,
    /// The version of the application that captured the envelope.
    pub application_version: String,
    /// The instance that captured the envelope.
    pub instance: String,
    /// When it was captured. In JSON it is text: RFC 3339, in UTC.
    #[serde(serialize_with = "crate::envelope::rfc3339::serialize")]
    pub created: SystemTime,
    /// A SHA-256 over the data in the envelope; that of
    /// [`Capture::digest`](crate::Capture::digest).
    pub digest: String,
    /// The participants that were restored, in the order in which they were committed.
    pub participants: Vec<RestoredParticipant>,
    /// Participants that are not in the envelope, and kept their state.
    pub missing: Vec<String>,
    /// Participants that are unknown here, whose data was dropped.
    pub unknown: Vec<String>,
}

/// One participant of [`Restored`].
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RestoredParticipant {
    /// Its name.
    pub name: String,
    /// The schema version in the envelope.
    pub version: u32,
    /// Whether that version was older, and the data was migrated.
    pub migrated: bool,
    /// The length of its data in the envelope, in bytes.
    pub length: u64,
    /// After a dry run: whether its data differs from the present one. Data without an order of its
    /// own, as in a `HashMap`, always differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<bool>,
}

#[cfg(test)]
mod tests;
