use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::watch;

#[cfg(test)]
mod tests;

/// Plays a script of frames, failures and delays as a body.
///
/// Steps are taken in the order in which they were added. After an error or a panic the script
/// goes on, so that a consumer that polls again is found out; after the last step the body is at
/// its end for good.
///
/// # Examples
///
/// ```
/// use http_body::Body;
/// use tower_ops_testing::ScriptedBody;
///
/// let body = ScriptedBody::new().data("ab").pending().data("cd").exact(4);
/// let probe = body.probe();
/// assert_eq!(body.size_hint().exact(), Some(4));
/// drop(body);
/// assert!(probe.is_dropped());
/// assert_eq!(probe.polls(), 0);
/// ```
#[derive(Debug)]
pub struct ScriptedBody {
    steps: VecDeque<Step>,
    hint: SizeHint,
    end_stream_flag: bool,
    polls: Arc<AtomicUsize>,
    // Closes when the body is dropped, which the probes wait for.
    alive: watch::Sender<()>,
}

#[derive(Debug)]
enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    Error(ScriptedError),
    Pending,
    Stalled,
    Panic,
}

impl ScriptedBody {
    /// Starts an empty script: no size hint, and `is_end_stream()` stays false.
    #[must_use]
    pub fn new() -> Self {
        Self {
            steps: VecDeque::new(),
            hint: SizeHint::new(),
            end_stream_flag: false,
            polls: Arc::default(),
            alive: watch::Sender::new(()),
        }
    }

    /// Adds a data frame.
    #[must_use]
    pub fn data(self, data: impl Into<Bytes>) -> Self {
        self.step(Step::Data(data.into()))
    }

    /// Adds a frame of trailers.
    #[must_use]
    pub fn trailers(self, trailers: HeaderMap) -> Self {
        self.step(Step::Trailers(trailers))
    }

    /// Adds an error.
    #[must_use]
    pub fn error(self, message: impl Into<String>) -> Self {
        self.step(Step::Error(ScriptedError::new(message)))
    }

    /// Adds one `Pending`, with the task woken at once.
    #[must_use]
    pub fn pending(self) -> Self {
        self.step(Step::Pending)
    }

    /// Adds a stall: from here on the body is pending for ever and wakes nobody.
    #[must_use]
    pub fn stalled(self) -> Self {
        self.step(Step::Stalled)
    }

    /// Adds a panic within `poll_frame`.
    #[must_use]
    pub fn panic(self) -> Self {
        self.step(Step::Panic)
    }

    /// Declares an exact length, right or not; the size hint falls as data is taken.
    #[must_use]
    pub fn exact(mut self, length: u64) -> Self {
        self.hint = SizeHint::with_exact(length);
        self
    }

    /// Declares a least length, right or not; the size hint falls as data is taken.
    #[must_use]
    pub fn at_least(mut self, length: u64) -> Self {
        self.hint = SizeHint::new();
        self.hint.set_lower(length);
        self
    }

    /// Sets whether `is_end_stream()` turns true after the last step.
    #[must_use]
    pub fn end_stream_flag(mut self, flag: bool) -> Self {
        self.end_stream_flag = flag;
        self
    }

    /// Returns a handle that shows how this body is polled and dropped, even after it is gone.
    #[must_use]
    pub fn probe(&self) -> BodyProbe {
        BodyProbe {
            polls: Arc::clone(&self.polls),
            alive: self.alive.subscribe(),
        }
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push_back(step);
        self
    }

    fn take_from_hint(&mut self, taken: usize) {
        let taken = taken as u64;
        let upper = self.hint.upper();
        let mut hint = SizeHint::new();
        hint.set_lower(self.hint.lower().saturating_sub(taken));
        if let Some(upper) = upper {
            hint.set_upper(upper.saturating_sub(taken));
        }
        self.hint = hint;
    }
}

impl Default for ScriptedBody {
    fn default() -> Self {
        Self::new()
    }
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = ScriptedError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ScriptedError>>> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        let Some(step) = self.steps.pop_front() else {
            return Poll::Ready(None);
        };
        match step {
            Step::Data(data) => {
                self.take_from_hint(data.len());
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Step::Trailers(trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Step::Error(error) => Poll::Ready(Some(Err(error))),
            Step::Pending => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Step::Stalled => {
                self.steps.push_front(Step::Stalled);
                Poll::Pending
            }
            Step::Panic => panic!("scripted panic of a body"),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.end_stream_flag && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

/// Tells how often a [`ScriptedBody`] was polled and whether it was dropped.
#[derive(Clone, Debug)]
pub struct BodyProbe {
    polls: Arc<AtomicUsize>,
    alive: watch::Receiver<()>,
}

impl BodyProbe {
    /// Returns how often `poll_frame` was called.
    #[must_use]
    pub fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }

    /// Returns whether the body is gone.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.alive.has_changed().is_err()
    }

    /// Waits until the body is gone; a server drops it in a task of its own.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time.
    pub async fn dropped(&self) {
        let mut alive = self.alive.clone();
        while alive.changed().await.is_ok() {}
    }
}

/// The error of a [`ScriptedBody`]; it displays the message of its step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptedError {
    message: String,
}

impl ScriptedError {
    /// Makes an error, to compare with the one that came out of a body.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

impl fmt::Display for ScriptedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for ScriptedError {}
