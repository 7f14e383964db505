//! Runs the checks: each by a task of its own, none twice at once.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::entry::Entry;
use crate::error::CheckNowError;
use crate::heartbeat::{Heart, Watcher};
use crate::report::{FailureReason, Report};
use crate::result::CheckResult;
use crate::shared::Shared;

/// How often it is looked whether a result has become too old.
const SWEEP: Duration = Duration::from_secs(1);

pub(crate) fn run(shared: &Arc<Shared>) -> impl Future<Output = ()> + Send + use<> {
    let weak = Arc::downgrade(shared);
    let turn = Arc::clone(&shared.turn);
    let mut set = shared.set.subscribe();
    async move {
        let _turn = turn.lock_owned().await;
        let Some(_running) = Running::begin(&weak) else {
            return;
        };
        let mut drivers = Drivers::default();
        loop {
            set.mark_unchanged();
            let Some(shared) = weak.upgrade() else {
                return;
            };
            drivers.keep_up(&shared);
            shared.sweep();
            drop(shared);
            if let Ok(Err(_gone)) = timeout(SWEEP, set.changed()).await {
                return;
            }
        }
    }
}

pub(crate) fn watch(shared: &Arc<Shared>) -> impl Future<Output = ()> + Send + use<> {
    let weak = Arc::downgrade(shared);
    let heart = Arc::clone(&shared.heart);
    async move {
        let interval = heart.interval();
        let mut watcher = Watcher::new(heart);
        let mut swept = Instant::now();
        loop {
            sleep(interval).await;
            let Some(shared) = weak.upgrade() else {
                return;
            };
            let before = shared.heart.status();
            watcher.look();
            if shared.heart.status() != before {
                shared.touch();
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                shared.look_over();
            }
        }
    }
}

/// Checks run, and the runtime that they run on is watched, while this lives.
struct Running {
    shared: Weak<Shared>,
    _watched: crate::heartbeat::Watched,
}

impl Running {
    fn begin(weak: &Weak<Shared>) -> Option<Self> {
        let shared = weak.upgrade()?;
        shared.running.store(true, Ordering::Release);
        let handle = tokio::runtime::Handle::current();
        Some(Self {
            shared: Weak::clone(weak),
            _watched: Heart::watch_runtime(&shared.heart, handle),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.running.store(false, Ordering::Release);
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
    fn keep_up(&mut self, shared: &Arc<Shared>) {
        while self.tasks.try_join_next().is_some() {}
        let entries: Vec<_> = shared.entries().values().cloned().collect();
        self.by_check.retain(|id, task| {
            let stays = entries.iter().any(|entry| entry.id == *id);
            if !stays {
                task.abort();
            }
            // A driver that has ended, which only a panic can do, is replaced.
            stays && !task.is_finished()
        });
        for entry in entries {
            let id = entry.id;
            let weak = Arc::downgrade(shared);
            self.by_check
                .entry(id)
                .or_insert_with(|| self.tasks.spawn(drive(weak, entry)));
        }
    }
}

async fn drive(weak: Weak<Shared>, entry: Arc<Entry>) {
    let (slots, jitter) = match weak.upgrade() {
        Some(shared) => (Arc::clone(&shared.slots), shared.jitter),
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
        // Asked for or due, whichever is first.
        let _ = timeout_at(due, entry.wake.notified()).await;
        if weak.strong_count() == 0 {
            return;
        }
    }
}

async fn run_once(weak: &Weak<Shared>, entry: &Arc<Entry>, slot: OwnedSemaphorePermit) {
    let Ok(flight) = Arc::clone(&entry.flight).try_acquire_owned() else {
        // Under an earlier scheduler it did not end, and may have begun just now.
        drop(slot);
        return overrun(weak, entry, entry.check.timeout).await;
    };
    // Before the run, which is not a part of what is measured.
    if let (Some(gauge), Some(shared)) = (&entry.check.gauge, weak.upgrade()) {
        shared.meters.gauge(&entry.check.name, gauge);
    }
    let joinable = Joinable::begin(entry);
    let started = Instant::now();
    // A task of its own: a check that panics or blocks leaves the driver alone.
    let mut run = AbortOnDrop(tokio::spawn(Arc::clone(&entry.check.run).run(flight)));
    let ended = timeout(entry.check.timeout, &mut run.0).await;
    let latency = started.elapsed();
    drop(joinable);
    match ended {
        Ok(Ok(result)) => record(weak, entry, result, None, latency),
        Ok(Err(_)) => {
            let result = CheckResult::down("the check panicked");
            record(weak, entry, result, Some(FailureReason::Panic), latency);
        }
        Err(_) => {
            let text = format!("no answer within {:?}", entry.check.timeout);
            let result = CheckResult::down(text);
            record(weak, entry, result, Some(FailureReason::Timeout), latency);
            run.0.abort();
            // Others need it, and this one may never end.
            drop(slot);
            overrun(weak, entry, entry.check.period).await;
        }
    }
}

/// Waits until the run has really ended, and takes each period that passes for a failure:
/// a check that hangs must not keep its last good result, nor its last but one.
async fn overrun(weak: &Weak<Shared>, entry: &Arc<Entry>, first: Duration) {
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
    weak: &Weak<Shared>,
    entry: &Arc<Entry>,
    result: CheckResult,
    reason: Option<FailureReason>,
    latency: Duration,
) {
    let Some(shared) = weak.upgrade() else {
        return;
    };
    let is_down = result.status == crate::Status::Down;
    let reason = reason.or_else(|| is_down.then_some(FailureReason::Down));
    let failure = reason.map(FailureReason::as_str);
    shared.meters.run(&entry.check.name, latency, failure);
    entry.record(result, reason, latency);
    shared.publish(entry);
    // After all else, so that whoever waits for it finds all else done.
    entry.recorded.send_modify(|runs| *runs += 1);
}

/// Runs a check now, or joins the run that is on.
pub(crate) async fn check_now(shared: &Shared, name: &str) -> Result<Report, CheckNowError> {
    let entry = shared.entry(name).ok_or(CheckNowError::NoSuchCheck)?;
    let mut recorded = entry.recorded.subscribe();
    if !entry.joinable.load(Ordering::Acquire) {
        entry.wake.notify_one();
    }
    loop {
        if !shared.running.load(Ordering::Acquire) {
            return Err(CheckNowError::NotRunning);
        }
        if !shared.has(&entry) {
            return Err(CheckNowError::NoSuchCheck);
        }
        // The entry is held here, so that its channel stays open.
        if timeout(SWEEP, recorded.changed()).await.is_ok() {
            return Ok(entry.report());
        }
    }
}

/// Up to `jitter` shorter, never longer: a promise about the period stays true.
fn jittered(period: Duration, jitter: f64) -> Duration {
    // Each state hashes differently, which is all the chance that this needs.
    let random = RandomState::new().hash_one(0_u8) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let fraction = random as f64 / (1_u64 << 53) as f64;
    period.mul_f64(jitter.mul_add(-fraction, 1.0))
}

/// A run is on that is going to be recorded: one that has timed out is not.
struct Joinable<'a>(&'a Entry);

impl<'a> Joinable<'a> {
    fn begin(entry: &'a Entry) -> Self {
        entry.joinable.store(true, Ordering::Release);
        Self(entry)
    }
}

impl Drop for Joinable<'_> {
    fn drop(&mut self) {
        self.0.joinable.store(false, Ordering::Release);
    }
}

struct AbortOnDrop(JoinHandle<CheckResult>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
