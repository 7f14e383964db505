//! Keeps writes out of an instance whose state is handed over.

mod layer;

use std::error::Error;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::Notify;
use tower_ops_core::sync::Mutex;

pub use self::layer::{FenceLayer, FenceService, ResponseBody, ResponseFuture};
use crate::error::StateError;

/// Keeps writes out once the state was handed over, so that two instances never both write. Made
/// by [`State::fence`](crate::State::fence). Cheap to clone; all clones are the same fence.
///
/// Every write of the application goes through it: those of requests by a [layer](Self::layer),
/// those of a worker by [`enter`](Self::enter). A hand-over closes the fence, waits for the writes
/// that have begun, and only then captures. A restore keeps it closed until it ends.
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
    shared: Arc<FenceShared>,
}

struct FenceShared {
    state: Mutex<FenceState>,
    /// Notified when the last writer leaves.
    no_writers: Notify,
}

struct FenceState {
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

/// The error of a closed fence: another instance has the state, or is about to get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fenced;

impl fmt::Display for Fenced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the state is being handed over, or was handed over")
    }
}

impl Error for Fenced {}

impl Fence {
    pub(crate) fn new() -> Self {
        let state = FenceState {
            mode: Mode::Open,
            writers: 0,
            generation: 0,
        };
        Self {
            shared: Arc::new(FenceShared {
                state: Mutex::new(state),
                no_writers: Notify::new(),
            }),
        }
    }

    /// Begins a write, which ends when the guard is dropped. A hand-over waits for that.
    ///
    /// # Errors
    ///
    /// If the fence is closed. Leave the write to the other instance, or try again.
    pub fn enter(&self) -> Result<WriteGuard, Fenced> {
        let mut state = self.shared.state.lock();
        if state.mode != Mode::Open {
            return Err(Fenced);
        }
        state.writers += 1;
        Ok(WriteGuard {
            shared: Arc::clone(&self.shared),
        })
    }

    /// Returns whether writes are kept out at this moment.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.state.lock().mode != Mode::Open
    }

    /// Returns whether the state was handed over to another instance.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.shared.state.lock().mode == Mode::HandedOver
    }

    /// Opens the fence after a hand-over that no instance took. Returns `false` if nothing was
    /// handed over. `POST /state?resume=1` does the same.
    ///
    /// The generation becomes greater than the one that was handed over. Call this only if you know
    /// that the other instance does not serve.
    #[expect(
        clippy::must_use_candidate,
        reason = "it opens the fence, and the result is for information"
    )]
    pub fn resume(&self) -> bool {
        let mut state = self.shared.state.lock();
        if state.mode != Mode::HandedOver {
            return false;
        }
        state.mode = Mode::Open;
        // The next generation is in the envelope that was handed over.
        state.generation = state.generation.saturating_add(2);
        true
    }

    /// Makes a layer for everything that writes. Behind a closed fence it answers 503 with
    /// `retry-after: 1`. GET, HEAD, OPTIONS and TRACE always pass.
    ///
    /// Do not put it around the service of `/state`: a restore would wait for itself.
    #[must_use]
    pub fn layer(&self) -> FenceLayer {
        FenceLayer::new(self.clone())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.shared.state.lock().generation
    }

    /// Closes the fence and waits until no write is left.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time. The fence is then as it was before.
    pub(crate) async fn pause(&self, purpose: Purpose) -> Result<Pause, StateError> {
        let pause = {
            let mut state = self.shared.state.lock();
            let before = state.mode;
            if before == Mode::HandedOver && purpose == Purpose::HandOver {
                return Err(StateError::handed_over());
            }
            if before == Mode::Paused {
                return Err(StateError::busy());
            }
            state.mode = Mode::Paused;
            Pause {
                shared: Arc::clone(&self.shared),
                before: Some(before),
            }
        };
        loop {
            let mut no_writers = pin!(self.shared.no_writers.notified());
            // Enabled before the count is read, or the last writer could leave in between unnoticed.
            no_writers.as_mut().enable();
            if self.shared.state.lock().writers == 0 {
                return Ok(pause);
            }
            no_writers.await;
        }
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        f.debug_struct("Fence")
            .field("mode", &state.mode)
            .field("writers", &state.writers)
            .field("generation", &state.generation)
            .finish()
    }
}

/// A write that has begun. It ends when this is dropped. Made by [`Fence::enter`].
#[must_use = "the write ends when this is dropped"]
pub struct WriteGuard {
    shared: Arc<FenceShared>,
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.writers -= 1;
        if state.writers == 0 {
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

/// Keeps the fence closed. When it is dropped, the fence is as it was before.
pub(crate) struct Pause {
    shared: Arc<FenceShared>,
    before: Option<Mode>,
}

impl Pause {
    /// The state belongs to another instance from now on.
    pub(crate) fn hand_over(mut self) {
        self.before = None;
        self.shared.state.lock().mode = Mode::HandedOver;
    }

    /// The state of that generation belongs to this instance from now on.
    pub(crate) fn take(mut self, generation: u64) -> u64 {
        self.before = None;
        let mut state = self.shared.state.lock();
        state.mode = Mode::Open;
        state.generation = state.generation.max(generation);
        state.generation
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            self.shared.state.lock().mode = before;
        }
    }
}
