//! Detects from another thread whether the application's runtime still runs tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tower_ops_core::sync::Mutex;

use crate::status::Status;

/// What the watcher has found, and the runtime that it watches.
#[derive(Debug)]
pub(crate) struct Heart {
    threshold: Duration,
    blocked_after: Option<Duration>,
    runtime: Mutex<Option<(u64, Handle)>>,
    stalled_millis: AtomicU64,
    blocked: AtomicUsize,
}

impl Heart {
    pub(crate) fn new(threshold: Duration, blocked_after: Option<Duration>) -> Self {
        Self {
            threshold,
            blocked_after,
            runtime: Mutex::new(None),
            stalled_millis: AtomicU64::new(0),
            blocked: AtomicUsize::new(0),
        }
    }

    /// Returns the period of the watcher.
    pub(crate) fn interval(&self) -> Duration {
        let shortest = self
            .threshold
            .min(self.blocked_after.unwrap_or(Duration::MAX));
        (shortest / 10).clamp(Duration::from_millis(5), Duration::from_secs(1))
    }

    /// Watches a runtime while the returned value lives.
    pub(crate) fn watch_runtime(heart: &Arc<Self>, handle: Handle) -> Watched {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        *heart.runtime.lock() = Some((id, handle));
        Watched {
            id,
            heart: Arc::clone(heart),
        }
    }

    pub(crate) fn status(&self) -> Status {
        if self.stalled() >= self.threshold {
            Status::Down
        } else if self.blocked() > 0 {
            Status::Degraded
        } else {
            Status::Ok
        }
    }

    /// Returns in words what is wrong.
    pub(crate) fn detail(&self) -> Option<String> {
        match self.status() {
            Status::Down => {
                let stalled = self.stalled().as_secs_f64();
                Some(format!("the runtime has not run a task for {stalled:.1} s"))
            }
            Status::Degraded => {
                let blocked = self.blocked();
                Some(format!(
                    "{blocked} of the runtime's workers seem to be blocked"
                ))
            }
            Status::Ok | Status::Unknown => None,
        }
    }

    pub(crate) fn stalled(&self) -> Duration {
        Duration::from_millis(self.stalled_millis.load(Ordering::Relaxed))
    }

    pub(crate) fn blocked(&self) -> usize {
        self.blocked.load(Ordering::Relaxed)
    }
}

/// A runtime is watched as long as this lives.
#[derive(Debug)]
pub(crate) struct Watched {
    id: u64,
    heart: Arc<Heart>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut runtime = self.heart.runtime.lock();
        // Another one may be watched by now.
        if runtime.as_ref().is_some_and(|(id, _)| *id == self.id) {
            *runtime = None;
        }
    }
}

/// Watches the runtime, from another thread.
pub(crate) struct Watcher {
    heart: Arc<Heart>,
    watched: Option<u64>,
    last_look: Instant,
    /// A task in the runtime's queue. One at a time: they must not pile up in a stalled runtime. It
    /// is also finished if the runtime was shut down.
    canary: Option<JoinHandle<()>>,
    stalled: Duration,
    workers: Vec<Worker>,
    was: Status,
}

#[derive(Clone, Copy, Default)]
struct Worker {
    parks: u64,
    busy: Duration,
    frozen: Duration,
}

impl Watcher {
    pub(crate) fn new(heart: Arc<Heart>) -> Self {
        Self {
            heart,
            watched: None,
            last_look: Instant::now(),
            canary: None,
            stalled: Duration::ZERO,
            workers: Vec::new(),
            was: Status::Ok,
        }
    }

    pub(crate) fn look(&mut self) {
        // A process that was stopped, or a machine that slept, is not a stalled runtime: the time
        // between two looks counts as two periods at most.
        let elapsed = self.last_look.elapsed().min(self.heart.interval() * 2);
        self.last_look = Instant::now();

        let runtime = self.heart.runtime.lock().clone();
        if self.watched != runtime.as_ref().map(|(id, _)| *id) {
            self.watched = runtime.as_ref().map(|(id, _)| *id);
            self.stalled = Duration::ZERO;
            self.workers.clear();
            // The canary of the last runtime may stay in its queue for ever.
            self.canary = None;
        }
        let blocked = match &runtime {
            None => 0,
            Some((_, handle)) => {
                self.send_canary(handle, elapsed);
                self.count_blocked(handle, elapsed)
            }
        };
        let millis = u64::try_from(self.stalled.as_millis()).unwrap_or(u64::MAX);
        self.heart.stalled_millis.store(millis, Ordering::Relaxed);
        self.heart.blocked.store(blocked, Ordering::Relaxed);
        self.log();
    }

    fn send_canary(&mut self, handle: &Handle, elapsed: Duration) {
        let waits = |canary: &JoinHandle<()>| !canary.is_finished();
        if self.canary.as_ref().is_some_and(waits) {
            self.stalled += elapsed;
            return;
        }
        self.stalled = Duration::ZERO;
        self.canary = Some(handle.spawn(async {}));
    }

    /// A worker whose count of parks and unparks is even and stays the same has not been idle. If
    /// its busy time, which it updates after some dozens of polls, has not changed either, it has
    /// been running one task, or very few, all the time.
    #[cfg(target_has_atomic = "64")]
    fn count_blocked(&mut self, handle: &Handle, elapsed: Duration) -> usize {
        let Some(after) = self.heart.blocked_after else {
            return 0;
        };
        let metrics = handle.metrics();
        self.workers
            .resize(metrics.num_workers(), Worker::default());
        for (number, worker) in self.workers.iter_mut().enumerate() {
            let parks = metrics.worker_park_unpark_count(number);
            let busy = metrics.worker_total_busy_duration(number);
            let still = parks == worker.parks && busy == worker.busy;
            worker.frozen = if still && parks.is_multiple_of(2) {
                worker.frozen + elapsed
            } else {
                Duration::ZERO
            };
            (worker.parks, worker.busy) = (parks, busy);
        }
        let blocked = |worker: &&Worker| worker.frozen >= after;
        self.workers.iter().filter(blocked).count()
    }

    #[cfg(not(target_has_atomic = "64"))]
    fn count_blocked(&mut self, _: &Handle, _: Duration) -> usize {
        let _ = self.heart.blocked_after;
        0
    }

    fn log(&mut self) {
        let now = self.heart.status();
        if now == self.was {
            return;
        }
        let from = std::mem::replace(&mut self.was, now).as_str();
        let detail = self.heart.detail();
        let (to, blocked) = (now.as_str(), self.heart.blocked());
        match now {
            Status::Down => tracing::error!(from, to, detail, blocked, "the runtime is stalled"),
            Status::Degraded => tracing::warn!(from, to, detail, blocked, "workers are blocked"),
            Status::Ok | Status::Unknown => tracing::info!(from, to, "the runtime is running"),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Without a watcher nothing would reset them.
        self.heart.stalled_millis.store(0, Ordering::Relaxed);
        self.heart.blocked.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, Runtime};
    use tokio::time::advance;

    use super::*;

    /// Nobody drives it: what is spawned on it waits.
    struct Stuck(Option<Runtime>);

    impl Stuck {
        fn new() -> Self {
            Self(Some(Builder::new_current_thread().build().unwrap()))
        }

        fn handle(&self) -> Handle {
            self.0.as_ref().unwrap().handle().clone()
        }

        /// Runs what waits.
        fn run(&self) {
            let runtime = self.0.as_ref().unwrap();
            let turn = || runtime.block_on(tokio::task::yield_now());
            std::thread::scope(|scope| scope.spawn(turn).join().unwrap());
        }
    }

    impl Drop for Stuck {
        fn drop(&mut self) {
            // A plain drop blocks, which a test on a runtime must not.
            self.0.take().unwrap().shutdown_background();
        }
    }

    fn heart() -> Arc<Heart> {
        Arc::new(Heart::new(Duration::from_secs(30), None))
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_the_threshold_is_stalled() {
        let (heart, runtime) = (heart(), Stuck::new());
        let _watched = Heart::watch_runtime(&heart, runtime.handle());
        let mut watcher = Watcher::new(Arc::clone(&heart));
        for _ in 0..30 {
            assert_eq!(heart.status(), Status::Ok);
            watcher.look();
            advance(Duration::from_secs(1)).await;
        }
        watcher.look();
        assert_eq!(heart.status(), Status::Down);
        // The runtime gets a turn.
        runtime.run();
        watcher.look();
        assert_eq!(heart.status(), Status::Ok);
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_slept_is_not_a_runtime_that_stalled() {
        let (heart, runtime) = (heart(), Stuck::new());
        let _watched = Heart::watch_runtime(&heart, runtime.handle());
        let mut watcher = Watcher::new(Arc::clone(&heart));
        watcher.look();
        advance(Duration::from_secs(3_600)).await;
        watcher.look();
        assert_eq!(heart.status(), Status::Ok);
        assert_eq!(heart.stalled(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn another_runtime_starts_with_a_clean_record() {
        let (heart, first, second) = (heart(), Stuck::new(), Stuck::new());
        let old = Heart::watch_runtime(&heart, first.handle());
        let mut watcher = Watcher::new(Arc::clone(&heart));
        for _ in 0..40 {
            watcher.look();
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(heart.status(), Status::Down);
        let _new = Heart::watch_runtime(&heart, second.handle());
        watcher.look();
        assert_eq!(heart.status(), Status::Ok);
        // The old one's end is not the new one's.
        drop(old);
        for _ in 0..40 {
            advance(Duration::from_secs(1)).await;
            watcher.look();
        }
        assert_eq!(heart.status(), Status::Down);
    }
}
