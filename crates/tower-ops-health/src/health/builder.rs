use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_ops_core::config::ConfigError;
use tower_ops_core::recorder::SharedRecorder;

use super::health_inner::MOST_CHECKS;
use super::{Health, HealthInner};
use crate::changes::{Callback, Change};
use crate::check::Check;
use crate::details::Details;
use crate::group::Group;

/// After what time without running a task a runtime counts as stalled by default.
pub const DEFAULT_STALLED_AFTER: Duration = Duration::from_secs(30);
/// After what time in one task a worker counts as blocked by default.
pub const DEFAULT_BLOCKED_AFTER: Duration = Duration::from_secs(10);
/// How many checks run at once by default.
pub const DEFAULT_CONCURRENCY: usize = 16;

/// Configures a [`Health`]. Made by [`Health::builder`].
///
/// # Examples
///
/// ```
/// use tower_ops_health::{Check, Health};
///
/// let error = Health::builder()
///     .concurrency(0)
///     .check(Check::always_ok("db").group("reediness"))
///     .build()
///     .unwrap_err();
/// assert_eq!(error.problems().len(), 2);
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until build is called"]
pub struct HealthBuilder {
    pub(super) checks: Vec<Check>,
    groups: Vec<Group>,
    pub(super) details: Option<Details>,
    pub(super) degraded: u16,
    pub(super) jitter: f64,
    pub(super) concurrency: usize,
    pub(super) stalled_after: Duration,
    pub(super) blocked_after: Option<Duration>,
    pub(super) callbacks: Vec<Callback>,
    pub(super) recorder: Option<SharedRecorder>,
}

impl HealthBuilder {
    pub(crate) const fn new() -> Self {
        Self {
            checks: Vec::new(),
            groups: Vec::new(),
            details: None,
            degraded: 200,
            jitter: 0.1,
            concurrency: DEFAULT_CONCURRENCY,
            stalled_after: DEFAULT_STALLED_AFTER,
            blocked_after: Some(DEFAULT_BLOCKED_AFTER),
            callbacks: Vec::new(),
            recorder: None,
        }
    }

    /// Adds a check.
    pub fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// Adds checks.
    pub fn checks(mut self, checks: impl IntoIterator<Item = Check>) -> Self {
        self.checks.extend(checks);
        self
    }

    /// Declares a group, or replaces [`READINESS`](crate::READINESS), [`LIVENESS`](crate::LIVENESS)
    /// or [`STARTUP`](crate::STARTUP).
    pub fn group(mut self, group: Group) -> Self {
        self.groups.push(group);
        self
    }

    /// Sets who may see more than a status. Default: nobody.
    pub fn details(mut self, details: Details) -> Self {
        self.details = Some(details);
        self
    }

    /// Sets who may see more than a status, unless [`details`](Self::details) was called. For crates
    /// that build on this one.
    pub fn details_by_default(mut self, details: Details) -> Self {
        self.details.get_or_insert(details);
        self
    }

    /// Sets the code for degraded: 200, or 207, which is a success for the kubelet and a failure for
    /// most load balancers. Default: 200.
    pub const fn degraded_code(mut self, code: u16) -> Self {
        self.degraded = code;
        self
    }

    /// Sets up to which part of its period a check runs early, 0.0 to 0.5, so that instances do not
    /// check at the same time. Default: 0.1.
    pub const fn jitter(mut self, part: f64) -> Self {
        self.jitter = part;
        self
    }

    /// Sets how many checks run at once, up to 1,000. A run does not count after its timeout.
    /// Default: 16.
    pub const fn concurrency(mut self, checks: usize) -> Self {
        self.concurrency = checks;
        self
    }

    /// Sets after what time without running a task the runtime counts as stalled, and liveness
    /// answers 503. Default: 30 s. At least 50 ms, at most an hour.
    pub const fn stalled_after(mut self, time: Duration) -> Self {
        self.stalled_after = time;
        self
    }

    /// Sets after what time in one task a worker counts as blocked; `None` is never. Default: 10 s.
    ///
    /// Liveness is degraded then, and never down: a worker that computes looks the same.
    pub fn blocked_after(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.blocked_after = time.into();
        self
    }

    /// Adds a callback for each change of a check's status.
    ///
    /// It is called in order, where the checks run, or on a thread of its own while nobody runs
    /// them. It must not block: use [`Health::changes`] for slow work.
    pub fn on_change(mut self, callback: impl Fn(&Change) + Send + Sync + 'static) -> Self {
        self.callbacks.push(Arc::new(callback));
        self
    }

    /// Records metrics with this recorder. Default: the process's.
    pub fn recorder(mut self, recorder: SharedRecorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Checks the configuration without building anything.
    ///
    /// # Errors
    ///
    /// If anything in it is invalid; the error lists every problem.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::from_problems("the health checks", self.problems())
    }

    /// Builds it. Checks do not run before [`Health::run`] is polled.
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate).
    pub fn build(self) -> Result<Health, ConfigError> {
        self.validate()?;
        Ok(Health {
            inner: Arc::new(HealthInner::new(self)),
        })
    }

    pub(super) fn all_groups(&self) -> BTreeMap<Arc<str>, Group> {
        let built_in = Group::built_in();
        let groups = built_in.iter().chain(&self.groups);
        groups
            .map(|group| (Arc::clone(&group.name), group.clone()))
            .collect()
    }

    fn problems(&self) -> Vec<String> {
        let groups = self.all_groups();
        let mut problems = Vec::new();
        if !matches!(self.degraded, 200 | 207) {
            problems.push(format!(
                "degraded_code: {} is neither 200 nor 207",
                self.degraded
            ));
        }
        if !(0.0..=0.5).contains(&self.jitter) {
            problems.push(format!("jitter: {} is not between 0 and 0.5", self.jitter));
        }
        if !(1..=MOST_CONCURRENT).contains(&self.concurrency) {
            problems.push(format!(
                "concurrency: {} is not between 1 and {MOST_CONCURRENT}",
                self.concurrency
            ));
        }
        if !(LEAST_WATCH..=MOST_WATCH).contains(&self.stalled_after) {
            problems.push(format!(
                "stalled_after: {:?} is not between {LEAST_WATCH:?} and {MOST_WATCH:?}",
                self.stalled_after
            ));
        }
        if let Some(time) = self.blocked_after
            && !(LEAST_WATCH..=MOST_WATCH).contains(&time)
        {
            problems.push(format!(
                "blocked_after: {time:?} is not between {LEAST_WATCH:?} and {MOST_WATCH:?}; None \
                 turns it off"
            ));
        }
        problems.extend(self.details.as_ref().and_then(Details::problem));
        let mut names = BTreeSet::new();
        for group in &self.groups {
            problems.extend(group.problems());
            if !names.insert(&group.name) {
                problems.push(format!("group {:?}: declared twice", group.name));
            }
        }
        if self.checks.len() > MOST_CHECKS {
            problems.push(format!("there are more than {MOST_CHECKS} checks"));
        }
        let mut names = BTreeSet::new();
        for check in &self.checks {
            problems.extend(check.all_problems(&groups));
            if !names.insert(&check.name) {
                problems.push(format!("check {:?}: there is one of that name", check.name));
            }
        }
        problems
    }
}

const MOST_CONCURRENT: usize = 1_000;
/// With less, a busy machine would look like a stalled one.
const LEAST_WATCH: Duration = Duration::from_millis(50);
const MOST_WATCH: Duration = Duration::from_secs(60 * 60);

impl Default for HealthBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HealthBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthBuilder")
            .field("checks", &self.checks)
            .field("groups", &self.groups)
            .field("details", &self.details)
            .field("degraded_code", &self.degraded)
            .field("jitter", &self.jitter)
            .field("concurrency", &self.concurrency)
            .field("stalled_after", &self.stalled_after)
            .field("blocked_after", &self.blocked_after)
            .finish_non_exhaustive()
    }
}
