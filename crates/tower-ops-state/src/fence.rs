use std::error::Error;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::error::{ErrorKind, StateError};
use crate::fence_layer::FenceLayer;
use crate::lock::lock;

/// Keeps writes out once the state was handed over, so that the two instances never
/// both write. Cheap to clone. Made by [`State::fence`](crate::State::fence).
///
/// Every write of the application goes through it: those of requests by a
/// [layer](Self::layer), those of a worker by [`enter`](Self::enter). A hand-over
/// closes it, waits for the writes that have begun, and only then captures. A restore
/// closes it too, until it is done.
///
/// # Examples
///
/// ```
/// # use tower_ops_state::{Fence, Fenced};
/// # fn take_a_job() {}
/// fn work(fence: &Fence) -> Result<(), Fenced> {
///     let _writing = fence.enter()?;
///     take_a_job();
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Fence {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    no_writers: Notify,
}

struct Inner {
    mode: Mode,
    writers: usize,
    generation: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    Paused,
    HandedOver,
}

/// The fence is closed: another instance has the state, or is about to get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fenced;

impl fmt::Display for Fenced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the state is being handed over, or was")
    }
}

impl Error for Fenced {}

impl Fence {
    pub(crate) fn new(generation: u64) -> Self {
        let inner = Inner {
            mode: Mode::Open,
            writers: 0,
            generation,
        };
        Self {
            shared: Arc::new(Shared {
                inner: Mutex::new(inner),
                no_writers: Notify::new(),
            }),
        }
    }

    /// Begins a write. It ends when the guard is dropped; a hand-over waits for that.
    ///
    /// # Errors
    ///
    /// If the fence is closed: leave the write to the other instance, or try again.
    pub fn enter(&self) -> Result<WriteGuard, Fenced> {
        let mut inner = lock(&self.shared.inner);
        if inner.mode != Mode::Open {
            return Err(Fenced);
        }
        inner.writers += 1;
        Ok(WriteGuard {
            shared: Arc::clone(&self.shared),
        })
    }

    /// Whether writes are kept out right now.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        lock(&self.shared.inner).mode != Mode::Open
    }

    /// Whether the state was handed over to another instance.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        lock(&self.shared.inner).mode == Mode::HandedOver
    }

    /// Opens the fence after a hand-over that nobody took. The generation goes beyond
    /// the one that was handed over. `false` if nothing was handed over.
    ///
    /// Only if you know that the other instance does not serve. `POST /state?resume=1`
    /// does the same.
    #[expect(
        clippy::must_use_candidate,
        reason = "it does something, whatever it was before"
    )]
    pub fn resume(&self) -> bool {
        let mut inner = lock(&self.shared.inner);
        if inner.mode != Mode::HandedOver {
            return false;
        }
        inner.mode = Mode::Open;
        // One was given away.
        inner.generation = inner.generation.saturating_add(2);
        true
    }

    /// A layer for everything that writes: it answers 503 and `retry-after: 1` when the
    /// fence is closed. GET, HEAD, OPTIONS and TRACE always pass.
    ///
    /// Not around the service of `/state`: a restore would wait for itself.
    #[must_use]
    pub fn layer(&self) -> FenceLayer {
        FenceLayer::new(self.clone())
    }

    pub(crate) fn generation(&self) -> u64 {
        lock(&self.shared.inner).generation
    }

    /// Closes the fence and waits until nobody writes.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits, the fence is as it was.
    pub(crate) async fn pause(&self, purpose: Purpose) -> Result<Pause, StateError> {
        let pause = {
            let mut inner = lock(&self.shared.inner);
            let before = inner.mode;
            if before == Mode::HandedOver && purpose == Purpose::HandOver {
                return Err(StateError::handed_over());
            }
            if before == Mode::Paused {
                return Err(StateError::busy());
            }
            inner.mode = Mode::Paused;
            Pause {
                shared: Arc::clone(&self.shared),
                before: Some(before),
            }
        };
        loop {
            let mut no_writers = pin!(self.shared.no_writers.notified());
            // Before looking, so that a writer who ends in between is not missed.
            no_writers.as_mut().enable();
            if lock(&self.shared.inner).writers == 0 {
                return Ok(pause);
            }
            no_writers.await;
        }
    }
}

impl StateError {
    pub(crate) fn handed_over() -> Self {
        Self::new(
            ErrorKind::HandedOver,
            "the state was handed over already; if nobody took it: POST ?resume=1",
        )
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = lock(&self.shared.inner);
        f.debug_struct("Fence")
            .field("mode", &inner.mode)
            .field("writers", &inner.writers)
            .field("generation", &inner.generation)
            .finish()
    }
}

/// A write that has begun. It ends when this is dropped.
#[must_use = "the write ends when this is dropped"]
pub struct WriteGuard {
    shared: Arc<Shared>,
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        let mut inner = lock(&self.shared.inner);
        inner.writers -= 1;
        if inner.writers == 0 {
            self.shared.no_writers.notify_waiters();
        }
    }
}

impl fmt::Debug for WriteGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteGuard").finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    HandOver,
    Restore,
}

/// The fence is closed as long as this lives. Dropped, it is as it was before.
pub(crate) struct Pause {
    shared: Arc<Shared>,
    before: Option<Mode>,
}

impl Pause {
    /// The state belongs to another instance from here on.
    pub(crate) fn hand_over(mut self) {
        self.before = None;
        lock(&self.shared.inner).mode = Mode::HandedOver;
    }

    /// The state of that generation belongs to this instance from here on.
    pub(crate) fn take(mut self, generation: u64) -> u64 {
        self.before = None;
        let mut inner = lock(&self.shared.inner);
        inner.mode = Mode::Open;
        inner.generation = inner.generation.max(generation);
        inner.generation
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            lock(&self.shared.inner).mode = before;
        }
    }
}
