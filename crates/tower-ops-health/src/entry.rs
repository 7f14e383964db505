use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use crate::check::Check;
use crate::group::Standing;
use crate::report::{FailureReason, LastRun, Report};
use crate::result::CheckResult;
use crate::status::Status;

/// A registered check and how it stands.
pub(crate) struct Entry {
    /// Never used twice: a check that is removed and added again is another one.
    pub(crate) id: u64,
    pub(crate) check: Check,
    /// One permit, which a run holds until it has really ended.
    pub(crate) flight: Arc<Semaphore>,
    /// Whether a run is on that whoever asks now may wait for.
    pub(crate) joinable: AtomicBool,
    /// Asks for a run now.
    pub(crate) wake: Notify,
    /// How many runs have been recorded.
    pub(crate) recorded: watch::Sender<u64>,
    state: Mutex<State>,
}

/// No lock of it is held while anything but a few fields is written.
struct State {
    /// By thresholds, whatever its age.
    status: Status,
    /// What was last told to whoever listens.
    published: Status,
    streak: u32,
    failures: u64,
    runs: u64,
    first_failure: Option<SystemTime>,
    passed: bool,
    last: Option<Last>,
}

struct Last {
    result: CheckResult,
    reason: Option<FailureReason>,
    latency: Duration,
    ended: Instant,
    ended_at: SystemTime,
}

impl Entry {
    pub(crate) fn new(check: Check) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            check,
            flight: Arc::new(Semaphore::new(1)),
            joinable: AtomicBool::new(false),
            wake: Notify::new(),
            recorded: watch::Sender::new(0),
            state: Mutex::new(State {
                status: Status::Unknown,
                published: Status::Unknown,
                streak: 0,
                failures: 0,
                runs: 0,
                first_failure: None,
                passed: false,
                last: None,
            }),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.check.name
    }

    /// Takes down what a run found. Tells nobody yet.
    pub(crate) fn record(
        &self,
        result: CheckResult,
        reason: Option<FailureReason>,
        latency: Duration,
    ) {
        let now = SystemTime::now();
        let mut state = self.lock();
        if self.is_stale(&state) {
            // What is too old says nothing: a failure that is not enough to be down must not
            // make it count again.
            state.status = Status::Unknown;
            state.streak = 0;
        }
        let failed = result.status == Status::Down;
        let continues = state
            .last
            .as_ref()
            .is_some_and(|last| (last.result.status == Status::Down) == failed);
        state.streak = if continues {
            state.streak.saturating_add(1)
        } else {
            1
        };
        state.runs += 1;
        if failed {
            state.failures += 1;
            state.first_failure.get_or_insert(now);
            if state.streak >= self.check.failure_threshold {
                state.status = Status::Down;
            }
        } else {
            state.first_failure = None;
            let is_up = matches!(state.status, Status::Ok | Status::Degraded);
            if is_up || state.streak >= self.check.success_threshold {
                state.status = result.status;
                state.passed = true;
            }
        }
        state.last = Some(Last {
            result,
            reason,
            latency,
            ended: Instant::now(),
            ended_at: now,
        });
    }

    /// How it stands now.
    pub(crate) fn status(&self) -> Status {
        self.status_of(&self.lock())
    }

    fn status_of(&self, state: &State) -> Status {
        if self.is_stale(state) {
            Status::Unknown
        } else {
            state.status
        }
    }

    /// Whether there was no run, or the last one is too long ago.
    fn is_stale(&self, state: &State) -> bool {
        let last = state.last.as_ref();
        last.is_none_or(|last| last.ended.elapsed() > self.check.max_age())
    }

    /// Whether it has passed once.
    pub(crate) fn has_passed(&self) -> bool {
        self.lock().passed
    }

    /// What it was, and is now, if that is something else than was told.
    pub(crate) fn take_change(&self) -> Option<(Status, Status)> {
        let mut state = self.lock();
        let now = self.status_of(&state);
        let before = std::mem::replace(&mut state.published, now);
        (before != now).then_some((before, now))
    }

    /// Whether it is something else than was told.
    pub(crate) fn is_untold(&self) -> bool {
        let state = self.lock();
        self.status_of(&state) != state.published
    }

    pub(crate) fn standing(&self) -> Standing<'_> {
        self.standing_as(self.status())
    }

    /// How it counts for start-up: a latch, like start-up itself.
    pub(crate) fn startup_standing(&self) -> Standing<'_> {
        let passed = self.has_passed();
        self.standing_as(if passed { Status::Ok } else { self.status() })
    }

    fn standing_as(&self, status: Status) -> Standing<'_> {
        Standing {
            name: &self.check.name,
            kind: self.check.kind,
            status,
        }
    }

    pub(crate) fn report(&self) -> Report {
        let state = self.lock();
        Report {
            name: Arc::clone(&self.check.name),
            kind: self.check.kind,
            status: self.status_of(&state),
            groups: self.check.groups.iter().cloned().collect(),
            routes: self.check.routes.clone(),
            last: state.last.as_ref().map(|last| LastRun {
                status: last.result.status,
                reason: last.reason,
                detail: last.result.detail.clone(),
                error: last.result.error.clone(),
                value: last.result.value.clone(),
                latency: last.latency,
                checked_at: last.ended_at,
                age: last.ended.elapsed(),
            }),
            first_failure: state.first_failure,
            streak: state.streak,
            runs: state.runs,
            failures: state.failures,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
