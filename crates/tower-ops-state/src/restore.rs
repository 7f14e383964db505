use serde::Serialize;

/// How to restore. By default as strictly as possible.
///
/// # Examples
///
/// ```
/// use tower_ops_state::Restore;
///
/// let how = Restore::new().dry_run(true).allow_unknown(true);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Restore {
    pub(crate) dry_run: bool,
    pub(crate) force: bool,
    pub(crate) allow_missing: bool,
    pub(crate) allow_unknown: bool,
    pub(crate) expected_generation: Option<u64>,
}

impl Restore {
    /// As strictly as possible.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether only to say what would change. Decodes, migrates and validates.
    #[must_use]
    pub const fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Whether to restore although it is [not the
    /// time](crate::StateBuilder::restore_when), or an older generation.
    #[must_use]
    pub const fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Whether participants may be missing in the envelope. They keep what they have.
    #[must_use]
    pub const fn allow_missing(mut self, allow: bool) -> Self {
        self.allow_missing = allow;
        self
    }

    /// Whether the envelope may have participants that are unknown here. What they had
    /// is lost.
    #[must_use]
    pub const fn allow_unknown(mut self, allow: bool) -> Self {
        self.allow_unknown = allow;
        self
    }

    /// The generation that this instance has to have right now.
    #[must_use]
    pub const fn expected_generation(mut self, generation: u64) -> Self {
        self.expected_generation = Some(generation);
        self
    }
}

/// What was restored or, after a dry run, what would be.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Restored {
    /// Whether nothing was changed, because it was only asked.
    pub dry_run: bool,
    /// The generation that this instance has now, or would have.
    pub generation: u64,
    /// The version of the application that captured it.
    pub application_version: String,
    /// The instance that captured it.
    pub instance: String,
    /// When it was captured: RFC 3339, in UTC.
    pub created: String,
    /// A SHA-256 over the data in the envelope; that of
    /// [`Capture::digest`](crate::Capture::digest).
    pub digest: String,
    /// The participants that were restored, in the order in which they were committed.
    pub participants: Vec<RestoredParticipant>,
    /// Participants that are not in the envelope, and kept what they had.
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
    /// Whether that was an older one, and the data was migrated.
    pub migrated: bool,
    /// How many bytes its data has in the envelope.
    pub length: u64,
    /// After a dry run: whether its data differs from what is here now. Data without an
    /// order of its own, as in a `HashMap`, always seems to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<bool>,
}
