//! Keeps writes out of an instance whose state is handed over.

mod layer;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

pub use self::layer::{FenceLayer, FenceService, ResponseBody, ResponseFuture};

/// Keeps writes out once the state was handed over, so that two instances never both write. Made
/// by [`State::fence`](crate::State::fence). Cheap to clone; all clones are the same fence.
///
/// Every write of the application goes through it: those of requests by a [layer](Self::layer),
/// those of a worker by [`enter`](Self::enter). A hand-over closes the fence, waits for the writes
/// that have begun, and only then captures. A restore keeps it closed until it ends.
#[derive(Clone)]
pub struct Fence {
    shared: Arc<FenceShared>,
}

#[derive(Default)]
struct FenceShared {
    /// Each write holds it shared, a pause exclusively. From the moment at which a pause waits, no
    /// other write gets it.
    writes: Arc<RwLock<()>>,
    /// Set during a pause only, so that no write can have begun before and go on after.
    is_handed_over: AtomicBool,
    generation: AtomicU64,
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
        Self {
            shared: Arc::default(),
        }
    }

    /// Begins a write, which ends when the guard is dropped. A hand-over waits for that.
    ///
    /// # Errors
    ///
    /// If the fence is closed. Leave the write to the other instance, or try again.
    pub fn enter(&self) -> Result<WriteGuard, Fenced> {
        let writes = Arc::clone(&self.shared.writes);
        let guard = writes.try_read_owned().map_err(|_| Fenced)?;
        if self.is_handed_over() {
            return Err(Fenced);
        }
        Ok(WriteGuard { _guard: guard })
    }

    /// Returns whether writes are kept out at this moment.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.enter().is_err()
    }

    /// Returns whether the state was handed over to another instance.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.shared.is_handed_over.load(Ordering::Acquire)
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
        if !self.shared.is_handed_over.swap(false, Ordering::AcqRel) {
            return false;
        }
        // The next generation is in the envelope that was handed over.
        self.shared.generation.fetch_add(2, Ordering::AcqRel);
        true
    }

    /// Makes a layer for everything that writes. Behind a closed fence it answers 503 with
    /// `retry-after: 1`. GET, HEAD, OPTIONS and TRACE always pass.
    ///
    /// Do not put it around the service of `/state`: a restore would wait for itself.
    #[must_use]
    pub fn layer(&self) -> FenceLayer {
        FenceLayer {
            fence: self.clone(),
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// Closes the fence and waits until no write is left. If the future is dropped, the fence is as
    /// it was before.
    pub(crate) async fn pause(&self) -> Pause {
        Pause {
            shared: Arc::clone(&self.shared),
            _guard: Arc::clone(&self.shared.writes).write_owned().await,
        }
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence")
            .field("is_closed", &self.is_closed())
            .field("is_handed_over", &self.is_handed_over())
            .field("generation", &self.generation())
            .finish()
    }
}

/// A write that has begun. It ends when this is dropped. Made by [`Fence::enter`].
#[derive(Debug)]
#[must_use = "the write ends when this is dropped"]
pub struct WriteGuard {
    _guard: OwnedRwLockReadGuard<()>,
}

/// Keeps the fence closed. When it is dropped, the fence is as it was before.
pub(crate) struct Pause {
    shared: Arc<FenceShared>,
    _guard: OwnedRwLockWriteGuard<()>,
}

impl Pause {
    /// The state belongs to another instance from now on.
    pub(crate) fn hand_over(self) {
        self.shared.is_handed_over.store(true, Ordering::Release);
    }

    /// The state of that generation belongs to this instance from now on.
    pub(crate) fn take(self, generation: u64) -> u64 {
        let shared = &self.shared;
        shared.is_handed_over.store(false, Ordering::Release);
        let before = shared.generation.fetch_max(generation, Ordering::AcqRel);
        before.max(generation)
    }
}
