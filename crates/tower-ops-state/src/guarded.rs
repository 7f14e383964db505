//! Calls into participants, which may fail, hang or panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use crate::error::{ErrorKind, StateError};
use crate::member::LocalFuture;
use crate::participant::Refusal;

/// Runs on a thread that may block, and from there on the runtime's clock.
pub(crate) struct Guarded {
    handle: Handle,
    deadline: Instant,
}

impl Guarded {
    pub(crate) const fn new(handle: Handle, deadline: Instant) -> Self {
        Self { handle, deadline }
    }

    /// Makes a future and waits for it, not beyond the deadline. A panic is a refusal.
    pub(crate) fn call<'a, T>(
        &self,
        name: &str,
        make: impl FnOnce() -> LocalFuture<'a, Result<T, Refusal>>,
    ) -> Result<T, StateError> {
        // Unwind safe as far as it is ours: after a panic the future is only dropped.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            self.handle
                .block_on(async { timeout_at(self.deadline, make()).await })
        }));
        let error = match outcome {
            Ok(Ok(Ok(done))) => return Ok(done),
            Ok(Ok(Err(refusal))) => StateError::new(ErrorKind::Refused, refusal.reason()),
            Ok(Err(_)) => StateError::new(ErrorKind::TimedOut, "it took too long"),
            Err(panic) => {
                let text = panic_text(&*panic);
                StateError::new(ErrorKind::Refused, format!("it panicked: {text}"))
            }
        };
        Err(error.with_participant(name))
    }

    /// Waits for something of ours, not beyond the deadline.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        future: impl Future<Output = Result<T, StateError>>,
    ) -> Result<T, StateError> {
        let waited = self
            .handle
            .block_on(async { timeout_at(self.deadline, future).await });
        waited.unwrap_or_else(|_| Err(StateError::new(ErrorKind::TimedOut, what)))
    }
}

/// What a panic says.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "without a message"
    }
}
