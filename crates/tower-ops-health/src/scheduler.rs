//! Runs the checks: each on a task of its own, none twice at once.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::check::{CheckEntry, CheckResult, FailureReason, Report};
use crate::health::{CheckNowError, HealthInner};
use crate::heartbeat::{Heart, Watched, Watcher};

/// How often results are checked for their age.
const SWEEP: Duration = Duration::from_secs(1);

pub(crate) fn run(inner: &Arc<HealthInner>) -> impl Future<Output = ()> + Send + use<> {
    let weak = Arc::downgrade(inner);
    let turn = Arc::clone(&inner.turn);
    let mut set = inner.set.subscribe();
    async move {
        let _turn = turn.lock_owned().await;
        let Some(_running) = Running::begin(&weak) else {
            return;
        };
        let mut drivers = Drivers::default();
        loop {
            set.mark_unchanged();
            let Some(inner) = weak.upgrade() else {
                return;
            };
            drivers.keep_up(&inner);
            inner.sweep();
            drop(inner);
            if let Ok(Err(_gone)) = timeout(SWEEP, set.changed()).await {
                return;
            }
        }
    }
}

pub(crate) fn watch(inner: &Arc<HealthInner>) -> impl Future<Output = ()> + Send + use<> {
    let weak = Arc::downgrade(inner);
    let heart = Arc::clone(&inner.heart);
    async move {
        let interval = heart.interval();
        let mut watcher = Watcher::new(heart);
        let mut swept = Instant::now();
        loop {
            sleep(interval).await;
            let Some(inner) = weak.upgrade() else {
                return;
            };
            let before = inner.heart.status();
            watcher.look();
            if inner.heart.status() != before {
                inner.touch();
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                inner.sweep_without_blocking();
            }
        }
    }
}

/// While it lives, checks run, and their runtime is watched.
struct Running {
    inner: Weak<HealthInner>,
    _watched: Watched,
}

impl Running {
    fn begin(weak: &Weak<HealthInner>) -> Option<Self> {
        let inner = weak.upgrade()?;
        inner.running.store(true, Ordering::Release);
        let handle = tokio::runtime::Handle::current();
        Some(Self {
            inner: Weak::clone(weak),
            _watched: Heart::watch_runtime(&inner.heart, handle),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.running.store(false, Ordering::Release);
        }
    }
}

/// One task for each check. Dropping it aborts them, and with them what they run.
#[derive(Default)]
struct Drivers {
    tasks: JoinSet<()>,
    by_check: HashMap<u64, AbortHandle>,
}

impl Drivers {
    fn keep_up(&mut self, inner: &Arc<HealthInner>) {
        while self.tasks.try_join_next().is_some() {}
        let entries: Vec<_> = inner.entries().values().cloned().collect();
        self.by_check.retain(|id, task| {
            let stays = entries.iter().any(|entry| entry.id == *id);
            if !stays {
                task.abort();
            }
            // A driver ends by a panic only, and is replaced.
            stays && !task.is_finished()
        });
        for entry in entries {
            let id = entry.id;
            let weak = Arc::downgrade(inner);
            self.by_check
                .entry(id)
                .or_insert_with(|| self.tasks.spawn(drive(weak, entry)));
        }
    }
}

async fn drive(weak: Weak<HealthInner>, entry: Arc<CheckEntry>) {
    let (slots, jitter) = match weak.upgrade() {
        Some(inner) => (Arc::clone(&inner.slots), inner.jitter),
        None => return,
    };
    let due = Instant::now() + entry.check.initial_delay;
    let _ = timeout_at(due, entry.wake.notified()).await;
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let due = Instant::now() + jittered(entry.check.period, jitter);
        run_once(&weak, &entry, slot).await;
        // Requested or due, whichever is first.
        let _ = timeout_at(due, entry.wake.notified()).await;
        if weak.strong_count() == 0 {
            return;
        }
    }
}

async fn run_once(weak: &Weak<HealthInner>, entry: &Arc<CheckEntry>, slot: OwnedSemaphorePermit) {
    let Ok(flight) = Arc::clone(&entry.flight).try_acquire_owned() else {
        // A run of an earlier scheduler has not ended, and may have begun just now.
        drop(slot);
        return overrun(weak, entry, entry.check.timeout).await;
    };
    // Before the run, so that it is not part of the latency.
    if let (Some(gauge), Some(inner)) = (&entry.check.gauge, weak.upgrade()) {
        inner.meters.gauge(&entry.check.name, gauge);
    }
    let joinable = Joinable::begin(entry);
    let started = Instant::now();
    // A task of its own: a check that panics or blocks does not affect the driver. Dropping the
    // set aborts it.
    let mut run = JoinSet::new();
    run.spawn(Arc::clone(&entry.check.run).run(flight));
    let ended = timeout(entry.check.timeout, run.join_next()).await;
    let latency = started.elapsed();
    drop(joinable);
    match ended {
        Ok(Some(Ok(result))) => record(weak, entry, result, None, latency),
        Ok(_) => {
            let result = CheckResult::down("the check panicked");
            record(weak, entry, result, Some(FailureReason::Panic), latency);
        }
        Err(_) => {
            let text = format!("no answer within {:?}", entry.check.timeout);
            let result = CheckResult::down(text);
            record(weak, entry, result, Some(FailureReason::Timeout), latency);
            run.abort_all();
            // This run may never end, and other checks need the slot.
            drop(slot);
            overrun(weak, entry, entry.check.period).await;
        }
    }
}

/// Waits until the run has ended, and records a failure for each period that passes: a check that
/// hangs must not keep its last good result.
async fn overrun(weak: &Weak<HealthInner>, entry: &Arc<CheckEntry>, first: Duration) {
    let mut due = Instant::now() + first;
    loop {
        match timeout_at(due, entry.flight.acquire()).await {
            Ok(_) => return,
            Err(_) => {
                let result = CheckResult::down("an earlier run has not ended yet");
                let reason = Some(FailureReason::StillRunning);
                record(weak, entry, result, reason, Duration::ZERO);
                due = Instant::now() + entry.check.period;
            }
        }
    }
}

fn record(
    weak: &Weak<HealthInner>,
    entry: &Arc<CheckEntry>,
    result: CheckResult,
    reason: Option<FailureReason>,
    latency: Duration,
) {
    let Some(inner) = weak.upgrade() else {
        return;
    };
    let is_down = result.status == crate::Status::Down;
    let reason = reason.or_else(|| is_down.then_some(FailureReason::Down));
    let failure = reason.map(FailureReason::as_str);
    inner.meters.run(&entry.check.name, latency, failure);
    entry.record(result, reason, latency);
    inner.publish(entry);
    // Last, so that those who wait for it find everything done.
    entry.recorded.send_modify(|runs| *runs += 1);
}

/// Runs a check now, or joins the run that is on.
pub(crate) async fn check_now(inner: &HealthInner, name: &str) -> Result<Report, CheckNowError> {
    let entry = inner.entry(name).ok_or(CheckNowError::NoSuchCheck)?;
    let mut recorded = entry.recorded.subscribe();
    if !entry.joinable.load(Ordering::Acquire) {
        entry.wake.notify_one();
    }
    loop {
        if !inner.running.load(Ordering::Acquire) {
            return Err(CheckNowError::NotRunning);
        }
        if !inner.has(&entry) {
            return Err(CheckNowError::NoSuchCheck);
        }
        // The channel stays open: the entry is held here.
        if timeout(SWEEP, recorded.changed()).await.is_ok() {
            return Ok(entry.report());
        }
    }
}

/// Returns a period that is up to `jitter` shorter, and never longer.
fn jittered(period: Duration, jitter: f64) -> Duration {
    // Each state hashes differently, which is random enough.
    let random = RandomState::new().hash_one(0_u8) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let fraction = random as f64 / (1_u64 << 53) as f64;
    period.mul_f64(jitter.mul_add(-fraction, 1.0))
}

/// A run is on whose result is going to be recorded: not one that has timed out.
struct Joinable<'a>(&'a CheckEntry);

impl<'a> Joinable<'a> {
    fn begin(entry: &'a CheckEntry) -> Self {
        entry.joinable.store(true, Ordering::Release);
        Self(entry)
    }
}

impl Drop for Joinable<'_> {
    fn drop(&mut self) {
        self.0.joinable.store(false, Ordering::Release);
    }
}
