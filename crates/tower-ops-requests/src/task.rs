use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, Timeout, timeout};
use tower_ops_core::panic::catch;
use tower_ops_observe::{Outcome, Phase, Route, as_error, is_timeout};

use crate::record::Record;
use crate::record::inline_text::bounded;
use crate::record::kind::Kind;
use crate::record::metadata::{Metadata, bounded_display};
use crate::record::progress::{End, Progress};
use crate::registry::{Ended, Slot};
use crate::stats::routes::LONGEST_NAME;
use crate::tracker::RequestTracker;
use crate::tracker::current::{self, Swap};

impl RequestTracker {
    /// Tracks work that is not a request: a job, a consumer, a timer.
    ///
    /// The work is in flight from this call on, and ends with one of five outcomes:
    ///
    /// | what happens | outcome | class |
    /// |---|---|---|
    /// | `Ok` | `completed` | success |
    /// | `Err` | `failed` | server error |
    /// | `Err` with a timeout, or caused by one | `timed_out` | timeout |
    /// | dropped, before or between its polls | `cancelled` | cancelled |
    /// | a panic in its poll | `panicked` | server error |
    ///
    /// If this is called within a request or other tracked work, that is its parent, and the work
    /// has the parent's request id and trace id, also if it is spawned afterwards. Work that begins
    /// within it has it as its parent.
    ///
    /// `name` must not come from a client: statistics count by it. Pass `()` for no metadata.
    ///
    /// # Cancel safety
    ///
    /// As cancel safe as `future`. Dropping the returned future ends the work as `cancelled`.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_ops_requests::RequestTracker;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let tracker = RequestTracker::new();
    /// let ingest = async { Err::<(), _>("line 7 is no order") };
    /// let result = tracker.track("ingest", [("file", "orders.csv")], ingest).await;
    /// assert!(result.is_err());
    /// let ended = &tracker.history()[0];
    /// assert_eq!(ended.name.as_deref(), Some("ingest"));
    /// assert_eq!(ended.outcome.unwrap().as_str(), "failed");
    /// # }
    /// ```
    pub fn track<F, T, E>(
        &self,
        name: impl Into<Cow<'static, str>>,
        metadata: impl Into<Metadata>,
        future: F,
    ) -> Tracked<F>
    where
        F: Future<Output = Result<T, E>>,
        E: 'static,
    {
        Tracked {
            inner: Some(future),
            guard: Some(TaskGuard::begin(self, name.into(), metadata.into())),
            judge: judge::<T, E>,
        }
    }

    /// Tracks work as [`track`](Self::track) does, and drops it when it takes longer than `limit`.
    /// Its outcome is `timed_out` then.
    ///
    /// # Errors
    ///
    /// The outer result is an error if the limit was reached. The inner one is that of `future`.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time, as [`tokio::time::timeout`] does.
    ///
    /// # Cancel safety
    ///
    /// As cancel safe as `future`. Dropping the returned future ends the work as `cancelled`.
    pub fn track_timeout<F, T, E>(
        &self,
        name: impl Into<Cow<'static, str>>,
        metadata: impl Into<Metadata>,
        limit: Duration,
        future: F,
    ) -> Tracked<Timeout<F>>
    where
        F: Future<Output = Result<T, E>>,
        E: 'static,
    {
        Tracked {
            inner: Some(timeout(limit, future)),
            guard: Some(TaskGuard::begin(self, name.into(), metadata.into())),
            judge: judge_timeout::<T, E>,
        }
    }
}

/// How a task ended, and its error.
type Judged = (Outcome, Option<Box<str>>);

fn judge<T, E: 'static>(result: &Result<T, E>) -> Judged {
    let Err(error) = result else {
        return (Outcome::Completed, None);
    };
    let error = error as &dyn Any;
    let outcome = if as_error(error).is_some_and(is_timeout) {
        Outcome::TimedOut
    } else {
        Outcome::Failed
    };
    (outcome, display(error))
}

/// Returns the text of an error, or the text itself if the error is one.
fn display(error: &dyn Any) -> Option<Box<str>> {
    if let Some(text) = error.downcast_ref::<String>() {
        return Some(bounded_display(text));
    }
    if let Some(text) = error.downcast_ref::<&'static str>() {
        return Some(bounded_display(text));
    }
    as_error(error).map(|error| bounded_display(&error))
}

fn judge_timeout<T, E: 'static>(result: &Result<Result<T, E>, Elapsed>) -> Judged {
    match result {
        Ok(result) => judge(result),
        Err(elapsed) => (Outcome::TimedOut, Some(bounded_display(elapsed))),
    }
}

pin_project! {
    /// A future whose end is tracked. Made by [`RequestTracker::track`] and
    /// [`RequestTracker::track_timeout`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Tracked<F>
    where
        F: Future,
    {
        // An option, so that it can be dropped while it is the current work: what its drop tracks
        // or notes belongs to it.
        #[pin]
        inner: Option<F>,
        guard: Option<TaskGuard>,
        judge: fn(&F::Output) -> Judged,
    }

    impl<F> PinnedDrop for Tracked<F>
    where
        F: Future,
    {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let Some(guard) = this.guard {
                let _current = Swap::enter(&mut guard.record);
                this.inner.set(None);
            }
        }
    }
}

impl<F: Future> Future for Tracked<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let (Some(inner), Some(guard)) = (this.inner.as_mut().as_pin_mut(), this.guard.as_mut())
        else {
            panic!("a Tracked was polled after it had completed");
        };
        let output = ready!(guard.step(|| inner.poll(cx)));
        // The error is the user's code, and so are its causes.
        let judged = catch(|| (this.judge)(&output));
        let (outcome, error) = judged.unwrap_or((Outcome::Failed, None));
        // The work ends after the future is dropped: its drop is part of it.
        guard.in_scope(|| this.inner.set(None));
        if let Some(guard) = this.guard.take() {
            guard.end(outcome, error);
        }
        Poll::Ready(output)
    }
}

impl<F: Future> fmt::Debug for Tracked<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracked").finish_non_exhaustive()
    }
}

/// Ends a task's record exactly once: with its result, or when it is dropped.
struct TaskGuard {
    tracker: RequestTracker,
    record: Option<Arc<Record>>,
    slot: Slot,
    started: Instant,
    /// Set while the future runs. If it is still set in the drop, the future unwound.
    /// `std::thread::panicking` would be true for another panic, too.
    stepping: bool,
}

impl TaskGuard {
    fn begin(tracker: &RequestTracker, name: Cow<'static, str>, metadata: Metadata) -> Self {
        let name = match name {
            Cow::Borrowed(name) => Route::from_static(bounded(name, LONGEST_NAME)),
            Cow::Owned(name) => Route::from(Arc::from(bounded(&name, LONGEST_NAME))),
        };
        let started = Instant::now();
        let (record, slot) = current::with(|parent| {
            let registry = &tracker.inner.registry;
            registry.begin(Kind::Task, started, |record| {
                record.method = None;
                record.parent = parent.and_then(|parent| NonZeroU64::new(parent.id));
                record.peer = None;
                record.connection = None;
                record.trace_ids = parent.and_then(|parent| parent.trace_ids);
                record.early_route = Some(name);
                let id = parent.map_or(&[][..], |parent| parent.text.id_bytes());
                record.text.fill(id, "");
            })
        });
        if !metadata.is_empty() {
            record.extra_or_new().metadata = metadata;
        }
        Self {
            tracker: tracker.clone(),
            record: Some(record),
            slot,
            started,
            stepping: false,
        }
    }

    fn step<R>(&mut self, step: impl FnOnce() -> R) -> R {
        self.stepping = true;
        let result = self.in_scope(step);
        self.stepping = false;
        result
    }

    fn in_scope<R>(&mut self, step: impl FnOnce() -> R) -> R {
        let _current = Swap::enter(&mut self.record);
        step()
    }

    fn end(mut self, outcome: Outcome, error: Option<Box<str>>) {
        self.end_once(outcome, error);
    }

    fn end_once(&mut self, outcome: Outcome, error: Option<Box<str>>) {
        let Some(record) = self.record.take() else {
            return;
        };
        if error.is_some() {
            record.extra_or_new().error = error;
        }
        let mut end = End {
            outcome,
            class: outcome.class(None, None),
            grpc: None,
        };
        end.apply_verdict(&record);
        let ended = Ended {
            end,
            duration: self.started.elapsed(),
        };
        let progress = Progress {
            phase: Phase::Body,
            ..Progress::new(Kind::Task)
        };
        let registry = &self.tracker.inner.registry;
        registry.end(&self.slot, record, progress, ended);
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.end_once(
            if self.stepping {
                Outcome::Panicked
            } else {
                Outcome::Cancelled
            },
            None,
        );
    }
}
