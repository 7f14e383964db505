use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tower_ops_core::config::ConfigError;
use tower_ops_core::recorder::{RecorderHandle, SharedRecorder};

use crate::check::Check;
use crate::details::Details;
use crate::events::{Callback, Change, Listeners};
use crate::group::Group;
use crate::heartbeat::Heart;
use crate::meters::Meters;
use crate::shared::{MOST_CHECKS, Settings, Shared, check_problems, settle_groups};
use crate::state::Health;

/// After what time without a sign of life a runtime counts as stalled unless told otherwise.
pub const DEFAULT_STALLED_AFTER: Duration = Duration::from_secs(30);
/// After what time in one task a worker counts as blocked unless told otherwise.
pub const DEFAULT_BLOCKED_AFTER: Duration = Duration::from_secs(10);
/// How many checks run at once unless told otherwise.
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
    checks: Vec<Check>,
    groups: Vec<Group>,
    details: Option<Details>,
    degraded: u16,
    jitter: f64,
    concurrency: usize,
    stalled_after: Duration,
    blocked_after: Option<Duration>,
    callbacks: Vec<Callback>,
    recorder: Option<SharedRecorder>,
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

    /// Declares a group, or changes one that is there: [`READINESS`](crate::READINESS),
    /// [`LIVENESS`](crate::LIVENESS) or [`STARTUP`](crate::STARTUP).
    pub fn group(mut self, group: Group) -> Self {
        self.groups.push(group);
        self
    }

    /// Who sees more than a status. Nobody by default.
    pub fn details(mut self, details: Details) -> Self {
        self.details = Some(details);
        self
    }

    /// Who sees more than a status where [`details`](Self::details) was not called, before or
    /// after. For those who build on this.
    pub fn details_by_default(mut self, details: Details) -> Self {
        self.details.get_or_insert(details);
        self
    }

    /// The code for degraded: 200 by default, or 207, which the kubelet takes for a
    /// success, and most load balancers do not.
    pub const fn degraded_code(mut self, code: u16) -> Self {
        self.degraded = code;
        self
    }

    /// Up to which part of its period a check runs early, 0.0 to 0.5, so that instances
    /// do not march in step. 0.1 by default.
    pub const fn jitter(mut self, part: f64) -> Self {
        self.jitter = part;
        self
    }

    /// How many checks run at once. 16 by default. One that overran its timeout does not
    /// count any more.
    pub const fn concurrency(mut self, checks: usize) -> Self {
        self.concurrency = checks;
        self
    }

    /// After what time without running a single task the runtime counts as stalled, and
    /// liveness answers 503. 30 s by default; 50 ms at least.
    pub const fn stalled_after(mut self, time: Duration) -> Self {
        self.stalled_after = time;
        self
    }

    /// After what time in one and the same task a worker counts as blocked. 10 s by
    /// default; `None` for never.
    ///
    /// Liveness is degraded by it and never more: a worker that computes looks the same.
    pub fn blocked_after(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.blocked_after = time.into();
        self
    }

    /// Calls `callback` with each change of a check's status, in order, where checks run, or, if
    /// nobody runs them, on a thread of its own: it must not block. [`Health::changes`] is for what takes its time.
    pub fn on_change(mut self, callback: impl Fn(&Change) + Send + Sync + 'static) -> Self {
        self.callbacks.push(Arc::new(callback));
        self
    }

    /// Measures with this recorder, and not with the process's one.
    pub fn recorder(mut self, recorder: SharedRecorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Builds it. Checks do not run before [`Health::run`] is polled.
    ///
    /// # Errors
    ///
    /// If anything in the configuration is invalid; the error lists every problem.
    pub fn build(mut self) -> Result<Health, ConfigError> {
        let groups = self.all_groups();
        ConfigError::check("the health checks", self.problems(&groups))?;
        self.checks.iter_mut().for_each(settle_groups);
        let settings = Settings {
            groups,
            heart: Heart::new(self.stalled_after, self.blocked_after),
            details: self.details.unwrap_or_default(),
            degraded: StatusCode::from_u16(self.degraded).unwrap_or(StatusCode::OK),
            jitter: self.jitter,
            meters: Meters::new(RecorderHandle::new(self.recorder)),
            listeners: Listeners::new(self.callbacks),
            slots: self.concurrency,
        };
        Ok(Health::from_shared(Shared::new(settings, self.checks)))
    }

    fn all_groups(&self) -> BTreeMap<Arc<str>, Group> {
        let built_in = Group::built_in();
        let groups = built_in.iter().chain(&self.groups);
        groups
            .map(|group| (Arc::clone(&group.name), group.clone()))
            .collect()
    }

    fn problems(&self, groups: &BTreeMap<Arc<str>, Group>) -> Vec<String> {
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
        let mut seen = Vec::new();
        for group in &self.groups {
            problems.extend(group.problems());
            if seen.contains(&&group.name) {
                problems.push(format!("group {:?}: declared twice", group.name));
            }
            seen.push(&group.name);
        }
        if self.checks.len() > MOST_CHECKS {
            problems.push(format!("there are more than {MOST_CHECKS} checks"));
        }
        let mut seen = Vec::new();
        for check in &self.checks {
            problems.extend(check_problems(check, groups));
            if seen.contains(&&check.name) {
                problems.push(format!("check {:?}: there is one of that name", check.name));
            }
            seen.push(&check.name);
        }
        problems
    }
}

const MOST_CONCURRENT: usize = 1_000;
/// Below, a busy machine would look like a stalled one.
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
