use std::fmt;
use std::sync::Arc;

use tower_ops_observe::Class;

use crate::current;
use crate::metadata::bounded_display;
use crate::record::{Record, Verdict};

/// A handle to one piece of work, for the work itself: to note something about
/// it, and to say how it went.
///
/// Found by [`current`](Self::current) anywhere in a handler, a response's body
/// or a tracked task; by axum's extractor, with the feature `axum`; and in the
/// request's extensions, with
/// [`with_extension`](crate::RequestTrackerBuilder::with_extension). Cheap to
/// clone, and to be taken along into spawned tasks.
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

    /// The work that is being done right now on this task: the innermost one that
    /// is tracked.
    #[must_use]
    pub fn current() -> Option<Self> {
        current::with(|record| record.cloned()).map(Self::new)
    }

    /// Its id in listings; no other work of this process has it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.record.id
    }

    /// The request id; in a task, that of the request in which it began.
    #[must_use]
    pub fn request_id(&self) -> Option<String> {
        self.record.texts.id().map(Into::into)
    }

    /// The id of the tracked work in which it began.
    #[must_use]
    pub fn parent(&self) -> Option<u64> {
        self.record.parent.map(Into::into)
    }

    /// Notes something for operators to read; a key that comes again replaces its
    /// value. Bounded as [`Metadata`](crate::Metadata) is. Also after the end.
    pub fn annotate(&self, key: &str, value: impl fmt::Display) {
        // Before the lock: who displays itself may well annotate, too.
        let value = bounded_display(&value);
        self.record.extra_or_new().metadata.insert(key, &value);
    }

    /// Says that the work failed by the service's fault, whatever it answers:
    /// its outcome will be `failed`, if it would be `completed` otherwise.
    ///
    /// No effect after the end.
    pub fn fail(&self, reason: impl fmt::Display) {
        self.say(Class::ServerError, &reason);
    }

    /// Says that the client asked for something that it cannot have, whatever
    /// the answer: it will count as a client error, if it would be `completed`.
    ///
    /// No effect after the end.
    pub fn reject(&self, reason: impl fmt::Display) {
        self.say(Class::ClientError, &reason);
    }

    fn say(&self, class: Class, reason: &dyn fmt::Display) {
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
