//! A thread that writes the lines, so that no caller waits for the reader.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::time::Instant;
use tower_ops_core::sync::Mutex;
use tracing::Level;

use self::losses::Losses;
use self::queue::Queue;
use self::run::Run;
use crate::format::{IdPlace, Style};
use crate::ring::Ring;
use crate::stamp::Stamp;

pub(crate) mod losses;
pub(crate) mod output;
pub(crate) mod queue;
mod run;

/// What producers and the thread share.
pub(crate) struct Shared {
    queue: Queue,
    pub(crate) losses: Losses,
    pub(crate) ring: Option<Ring>,
    /// Whether the thread has to be woken.
    sleeps: AtomicBool,
    stops: AtomicBool,
    thread: OnceLock<Thread>,
    flushes: Mutex<Flushes>,
    flushed: Condvar,
}

#[derive(Default)]
struct Flushes {
    requested: u64,
    done: u64,
}

/// The way to the thread. It ends when this is dropped, after what is in the queue.
pub(crate) struct Writer {
    shared: Arc<Shared>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(
        queue: Queue,
        ring: Option<Ring>,
        style: Style,
        output: Box<dyn io::Write + Send>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue,
            losses: Losses::default(),
            ring,
            sleeps: AtomicBool::new(false),
            stops: AtomicBool::new(false),
            thread: OnceLock::new(),
            flushes: Mutex::new(Flushes::default()),
            flushed: Condvar::new(),
        });
        let run = Run::new(Arc::clone(&shared), style, output);
        let thread = thread::Builder::new().name("logs".to_owned());
        let handle = thread.spawn(move || run.until_stopped())?;
        // It has not been needed before now: the thread looks at the queue before it sleeps.
        let _ = shared.thread.set(handle.thread().clone());
        Ok(Self { shared })
    }

    /// Hands a line over that was [begun](Queue::begin), or drops and counts it if the queue is too full for its level.
    #[inline]
    pub(crate) fn push(&self, level: Level, at: Stamp, line: &mut [u8], id: IdPlace) {
        let shared = &*self.shared;
        if !shared.queue.push(level, at, line, id) {
            shared.losses.add(level, 1);
        }
        if shared.sleeps.load(Ordering::SeqCst) {
            shared.wake();
        }
    }

    /// Waits until everything that was handed over before is written. Returns whether it is.
    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        self.shared.flush(timeout)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.stops.store(true, Ordering::SeqCst);
        self.shared.unpark();
    }
}

impl Shared {
    #[cold]
    fn wake(&self) {
        if self.sleeps.swap(false, Ordering::SeqCst) {
            self.unpark();
        }
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut flushes = self.flushes.lock();
        flushes.requested += 1;
        let ticket = flushes.requested;
        self.unpark();
        while flushes.done < ticket {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.flushed.wait_timeout(flushes, left);
            flushes = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Returns the number of the latest flush that is wanted, if it is not done.
    fn wanted_flush(&self) -> Option<u64> {
        let flushes = self.flushes.lock();
        (flushes.requested > flushes.done).then_some(flushes.requested)
    }

    fn flush_is_done(&self, ticket: u64) {
        let mut flushes = self.flushes.lock();
        flushes.done = flushes.done.max(ticket);
        self.flushed.notify_all();
    }

    /// Calls with the lines that were handed over and not taken yet.
    pub(crate) fn for_each_waiting(&self, each: impl FnMut(&[u8], IdPlace)) {
        self.queue.for_each_waiting(each);
    }
}
