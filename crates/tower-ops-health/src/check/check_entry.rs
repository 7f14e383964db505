use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tower_ops_core::sync::Mutex;

use super::{Check, CheckResult, FailureReason, LastRun, READINESS, Report};
use crate::group::Standing;
use crate::status::Status;

/// The registered checks, by name.
pub(crate) type CheckEntries = BTreeMap<Arc<str>, Arc<CheckEntry>>;

/// A registered check and its results.
pub(crate) struct CheckEntry {
    /// Never used twice: a check that is removed and added again has another one.
    pub(crate) id: u64,
    pub(crate) check: Check,
    /// One permit, which a run holds until it has ended, whatever its timeout.
    pub(crate) flight: Arc<Semaphore>,
    /// Whether a run is on whose result is going to be recorded.
    pub(crate) joinable: AtomicBool,
    /// Starts a run now.
    pub(crate) wake: Notify,
    /// How many runs have been recorded.
    pub(crate) recorded: watch::Sender<u64>,
    /// Locked to read or write a few fields only.
    results: Mutex<Results>,
}

struct Results {
    /// By thresholds, without regard to age.
    status: Status,
    /// The last status that listeners were notified of.
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

impl CheckEntry {
    pub(crate) fn new(mut check: Check) -> Self {
        if check.groups.is_empty() {
            check.groups.insert(READINESS.into());
        }
        static IDS: AtomicU64 = AtomicU64::new(0);
        Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            check,
            flight: Arc::new(Semaphore::new(1)),
            joinable: AtomicBool::new(false),
            wake: Notify::new(),
            recorded: watch::Sender::new(0),
            results: Mutex::new(Results {
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

    /// Records what a run has found. Notifies nobody.
    pub(crate) fn record(
        &self,
        result: CheckResult,
        reason: Option<FailureReason>,
        latency: Duration,
    ) {
        let now = SystemTime::now();
        let mut results = self.results.lock();
        if self.is_stale(&results) {
            // The old status must not come back with a failure that is too few to be down.
            results.status = Status::Unknown;
            results.streak = 0;
        }
        let failed = result.status == Status::Down;
        let continues = results
            .last
            .as_ref()
            .is_some_and(|last| (last.result.status == Status::Down) == failed);
        results.streak = if continues {
            results.streak.saturating_add(1)
        } else {
            1
        };
        results.runs += 1;
        if failed {
            results.failures += 1;
            results.first_failure.get_or_insert(now);
            if results.streak >= self.check.failure_threshold {
                results.status = Status::Down;
            }
        } else {
            results.first_failure = None;
            let is_up = matches!(results.status, Status::Ok | Status::Degraded);
            if is_up || results.streak >= self.check.success_threshold {
                results.status = result.status;
                results.passed = true;
            }
        }
        results.last = Some(Last {
            result,
            reason,
            latency,
            ended: Instant::now(),
            ended_at: now,
        });
    }

    /// Returns its present status.
    pub(crate) fn status(&self) -> Status {
        self.status_of(&self.results.lock())
    }

    fn status_of(&self, results: &Results) -> Status {
        if self.is_stale(results) {
            Status::Unknown
        } else {
            results.status
        }
    }

    /// Returns whether there was no run, or the last one is too old.
    fn is_stale(&self, results: &Results) -> bool {
        let last = results.last.as_ref();
        last.is_none_or(|last| last.ended.elapsed() > self.check.max_age())
    }

    /// Returns the published status and the present one if they differ, and publishes the latter.
    pub(crate) fn take_change(&self) -> Option<(Status, Status)> {
        let mut results = self.results.lock();
        let now = self.status_of(&results);
        let before = std::mem::replace(&mut results.published, now);
        (before != now).then_some((before, now))
    }

    pub(crate) fn has_unpublished_change(&self) -> bool {
        let results = self.results.lock();
        self.status_of(&results) != results.published
    }

    pub(crate) fn standing(&self) -> Standing<'_> {
        self.standing_as(self.status())
    }

    /// Returns how it counts for start-up: ok for ever once it has passed.
    pub(crate) fn startup_standing(&self) -> Standing<'_> {
        let passed = self.results.lock().passed;
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
        let results = self.results.lock();
        Report {
            name: Arc::clone(&self.check.name),
            kind: self.check.kind,
            status: self.status_of(&results),
            groups: self.check.groups.iter().cloned().collect(),
            routes: self.check.routes.clone(),
            last: results.last.as_ref().map(|last| LastRun {
                status: last.result.status,
                reason: last.reason,
                detail: last.result.detail.clone(),
                error: last.result.error.clone(),
                value: last.result.value.clone(),
                latency: last.latency,
                checked_at: last.ended_at,
                age: last.ended.elapsed(),
            }),
            first_failure: results.first_failure,
            streak: results.streak,
            runs: results.runs,
            failures: results.failures,
        }
    }
}
