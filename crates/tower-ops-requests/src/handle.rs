use std::fmt;
use std::sync::Arc;

use tower_ops_observe::Class;

use crate::record::metadata::bounded_display;
use crate::record::{Record, Verdict};
use crate::tracker::current;

#[cfg(feature = "axum")]
pub(crate) mod axum;

/// A handle to one tracked piece of work, for the code that does it: adds notes, and sets how the
/// work went.
///
/// Get it by [`current`](Self::current) in a handler, a response's body or a tracked task; by
/// axum's extractor, with the feature `axum`; or from the request's extensions, with
/// [`extension`](crate::RequestTrackerBuilder::extension). Cheap to clone; spawned tasks can own
/// one.
///
/// # Examples
///
/// ```
/// use tower_ops_requests::RequestHandle;
///
/// fn pay(amount: u64) {
///     if let Some(request) = RequestHandle::current() {
///         request.annotate("amount", amount);
///         request.fail("the bank does not answer"); // though the answer is 200
///     }
/// }
/// # pay(1);
/// ```
#[derive(Clone)]
pub struct RequestHandle {
    record: Arc<Record>,
}

impl RequestHandle {
    pub(crate) const fn new(record: Arc<Record>) -> Self {
        Self { record }
    }

    /// Returns the innermost tracked work that the calling task runs, if there is one.
    #[must_use]
    pub fn current() -> Option<Self> {
        current::with(|record| record.cloned()).map(Self::new)
    }

    /// Returns its id in listings, which no other work of this process has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.record.id
    }

    /// Returns the request id; for a task, that of the request in which it began.
    #[must_use]
    pub fn request_id(&self) -> Option<String> {
        self.record.text.id().map(Into::into)
    }

    /// Returns the id of the tracked work in which it began.
    #[must_use]
    pub fn parent(&self) -> Option<u64> {
        self.record.parent.map(Into::into)
    }

    /// Adds a note for operators. A key that comes again replaces its value. Bounded as
    /// [`Metadata`](crate::Metadata) is. Also works after the end.
    pub fn annotate(&self, key: &str, value: impl fmt::Display) {
        // Before the lock: the value's `Display` may annotate, too.
        let value = bounded_display(&value);
        self.record.extra_or_new().metadata.insert(key, &value);
    }

    /// Marks the work as failed by the service's fault, whatever it answers. An outcome that would
    /// be `completed` becomes `failed`.
    ///
    /// No effect after the end. The last call of `fail` or `reject` counts.
    pub fn fail(&self, reason: impl fmt::Display) {
        self.set_verdict(Class::ServerError, &reason);
    }

    /// Marks the work as rejected by the client's fault, whatever it answers. If its outcome is
    /// `completed`, its class becomes client error.
    ///
    /// No effect after the end. The last call of `fail` or `reject` counts.
    pub fn reject(&self, reason: impl fmt::Display) {
        self.set_verdict(Class::ClientError, &reason);
    }

    fn set_verdict(&self, class: Class, reason: &dyn fmt::Display) {
        if self.record.progress().end.is_none() {
            let reason = bounded_display(reason);
            self.record.extra_or_new().verdict = Some(Verdict { class, reason });
        }
    }
}

impl fmt::Debug for RequestHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHandle")
            .field("id", &self.record.id)
            .finish_non_exhaustive()
    }
}
