//! Checks: what runs, when, and what it has found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

mod check_entry;
mod check_result;
mod report;
mod run;

use self::run::{Async, Blocking, Closure, Run};
use crate::group::Group;
use crate::meters::Gauge;
use crate::status::CheckKind;

pub(crate) use self::check_entry::{CheckEntries, CheckEntry};
pub use self::check_result::{CheckResult, Measurement};
pub use self::report::{FailureReason, LastRun, Report};
pub use self::run::HealthCheck;

/// A check, and when and how it runs.
///
/// By default it is [degrading](CheckKind::Degrading), in the group `readiness`, runs every 10 s with a
/// timeout of 2 s, and one failure or one success changes its status.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_ops_health::Check;
///
/// # struct Pool; impl Pool { async fn ping(&self) -> std::io::Result<()> { Ok(()) } }
/// # let pool = std::sync::Arc::new(Pool);
/// let check = Check::new("orders-db", move || {
///     let pool = pool.clone();
///     async move { pool.ping().await }
/// })
/// .critical()
/// .period(Duration::from_secs(5))
/// .timeout(Duration::from_secs(1))
/// .failure_threshold(2)
/// .affects("/orders/{id}");
/// # let _ = check;
/// ```
#[derive(Clone)]
#[must_use = "a check does nothing until it is given to a Health"]
pub struct Check {
    pub(crate) name: Arc<str>,
    pub(crate) run: Arc<dyn Run>,
    pub(crate) kind: CheckKind,
    pub(crate) groups: BTreeSet<Arc<str>>,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
    pub(crate) initial_delay: Duration,
    pub(crate) failure_threshold: u32,
    pub(crate) success_threshold: u32,
    pub(crate) stale_after: Option<Duration>,
    pub(crate) routes: Vec<Arc<str>>,
    pub(crate) gauge: Option<Gauge>,
    /// Problems of the settings that it was made from.
    pub(crate) problems: Vec<String>,
}

/// How often a check runs by default.
pub const DEFAULT_PERIOD: Duration = Duration::from_secs(10);
/// How long one run may take by default.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// The group of a check that names no group.
pub const READINESS: &str = "readiness";
/// The group that decides about liveness, together with the runtime's heartbeat.
pub const LIVENESS: &str = "liveness";
/// The group of which each check has to pass once before start-up is over.
pub const STARTUP: &str = "startup";

impl Check {
    /// Makes a check that awaits what `run` returns: `()`, a `bool`, a [`CheckResult`], or a
    /// `Result` of `()` or [`CheckResult`].
    ///
    /// The name is shown in answers and is a label of metrics: 1 to 64 letters, digits, `-`, `_` and
    /// `.`, beginning with a letter or digit.
    ///
    /// The future has to own what it needs: clone handles in the closure, before the `async move`.
    pub fn new<F, Fut, R>(name: impl Into<Arc<str>>, run: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: Into<CheckResult> + 'static,
    {
        Self::with(name, Closure(run))
    }

    /// Makes a check of a type of its own.
    pub fn with(name: impl Into<Arc<str>>, check: impl HealthCheck) -> Self {
        Self::from_run(name.into(), Arc::new(Async(check)))
    }

    /// Makes a check that blocks. Each run has a thread of its own, which does not keep a process
    /// from ending.
    ///
    /// A timeout cannot end the call: the check is down then, and does not run again until the call
    /// has returned.
    pub fn blocking<F, R>(name: impl Into<Arc<str>>, run: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Into<CheckResult> + 'static,
    {
        Self::from_run(name.into(), Arc::new(Blocking(run)))
    }

    /// Makes a check that always passes, for trials.
    pub fn always_ok(name: impl Into<Arc<str>>) -> Self {
        Self::new(name, || async { CheckResult::ok() })
    }

    /// Makes a check that always fails, for trials of alerts.
    pub fn always_down(name: impl Into<Arc<str>>) -> Self {
        Self::new(name, || async { CheckResult::down("always down") })
    }

    fn from_run(name: Arc<str>, run: Arc<dyn Run>) -> Self {
        Self {
            name,
            run,
            kind: CheckKind::default(),
            groups: BTreeSet::new(),
            period: DEFAULT_PERIOD,
            timeout: DEFAULT_TIMEOUT,
            initial_delay: Duration::ZERO,
            failure_threshold: 1,
            success_threshold: 1,
            stale_after: None,
            routes: Vec::new(),
            gauge: None,
            problems: Vec::new(),
        }
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets what its failure means. Default: [`CheckKind::Degrading`].
    pub const fn kind(mut self, kind: CheckKind) -> Self {
        self.kind = kind;
        self
    }

    /// Makes its groups down when it is down.
    pub const fn critical(self) -> Self {
        self.kind(CheckKind::Critical)
    }

    /// Makes its groups degraded when it is down. The default.
    pub const fn degrading(self) -> Self {
        self.kind(CheckKind::Degrading)
    }

    /// Makes it visible in answers, without influence on its groups.
    pub const fn informational(self) -> Self {
        self.kind(CheckKind::Informational)
    }

    /// Adds it to a group: [`READINESS`], [`LIVENESS`], [`STARTUP`] or a
    /// [declared](crate::HealthBuilder::group) one. Default: `readiness` alone.
    ///
    /// Only what a restart of this process repairs belongs in `liveness`: never a database.
    pub fn group(mut self, name: impl Into<Arc<str>>) -> Self {
        self.groups.insert(name.into());
        self
    }

    /// Sets the time from the start of one run to the start of the next, which may be up to a
    /// [tenth](crate::HealthBuilder::jitter) shorter. Default: 10 s. At least 10 ms, at most a day.
    pub const fn period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    /// Sets how long one run may take. Default: 2 s. At most the period.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long it waits before its first run. Default: 0.
    pub const fn initial_delay(mut self, delay: Duration) -> Self {
        self.initial_delay = delay;
        self
    }

    /// Sets after how many failures in a row it is down. Default: 1.
    pub const fn failure_threshold(mut self, failures: u32) -> Self {
        self.failure_threshold = failures;
        self
    }

    /// Sets after how many successes in a row it is up again. Default: 1.
    pub const fn success_threshold(mut self, successes: u32) -> Self {
        self.success_threshold = successes;
        self
    }

    /// Sets how old its last result may get before it is unknown. Default: three periods. At least
    /// the period and the timeout together.
    pub fn stale_after(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.stale_after = age.into();
        self
    }

    /// Adds a route that is of no use while this check is down: a template of axum, a path, or the
    /// beginning of a path and `*`. A [`ShedLayer`](crate::ShedLayer) then answers for it.
    pub fn affects(mut self, route: impl Into<Arc<str>>) -> Self {
        self.routes.push(route.into());
        self
    }

    /// Sets a gauge before each run, with the labels `name`, which is the check's, and `state`.
    /// For crates of ready-made checks.
    ///
    /// `values` returns each state and its value. It is called where checks run: it must not block.
    pub fn gauge(
        mut self,
        name: &'static str,
        help: &'static str,
        values: impl Fn() -> Vec<(&'static str, f64)> + Send + Sync + 'static,
    ) -> Self {
        self.gauge = Some(Gauge {
            name,
            help,
            values: Arc::new(values),
        });
        self
    }

    /// Adds problems of the settings that this check was made from: building the
    /// [`Health`](crate::Health) returns them with all others. For crates of ready-made checks.
    pub fn problems(mut self, problems: impl IntoIterator<Item = String>) -> Self {
        self.problems.extend(problems);
        self
    }

    pub(crate) fn max_age(&self) -> Duration {
        self.stale_after
            .unwrap_or_else(|| self.period.saturating_mul(3))
    }

    /// Returns everything that is wrong with it, among these groups.
    pub(crate) fn all_problems(&self, groups: &BTreeMap<Arc<str>, Group>) -> Vec<String> {
        let mut problems = Vec::new();
        problems.extend(name_problem(&self.name));
        if !(LEAST_PERIOD..=MOST).contains(&self.period) {
            problems.push(format!(
                "period: {:?} is not between {LEAST_PERIOD:?} and {MOST:?}",
                self.period
            ));
        }
        if self.timeout.is_zero() {
            problems.push("timeout: must be more than 0".to_owned());
        }
        if self.timeout > self.period {
            problems.push(format!(
                "timeout: {:?} is more than the period, {:?}",
                self.timeout, self.period
            ));
        }
        if self.initial_delay > MOST {
            problems.push(format!(
                "initial_delay: {:?} is more than {MOST:?}",
                self.initial_delay
            ));
        }
        if self.failure_threshold == 0 {
            problems.push("failure_threshold: must be at least 1".to_owned());
        }
        if self.success_threshold == 0 {
            problems.push("success_threshold: must be at least 1".to_owned());
        }
        if let Some(age) = self.stale_after
            && age < self.period.saturating_add(self.timeout)
        {
            problems.push(format!(
                "stale_after: {age:?} is less than the period and the timeout together, {:?}",
                self.period.saturating_add(self.timeout)
            ));
        }
        for route in self.routes.iter().filter(|route| !route.starts_with('/')) {
            problems.push(format!("affects: {route:?} does not begin with '/'"));
        }
        problems.extend(self.problems.iter().cloned());
        for group in self
            .groups
            .iter()
            .filter(|name| !groups.contains_key(*name))
        {
            let known: Vec<_> = groups.keys().map(|name| &**name).collect();
            let known = known.join(", ");
            problems.push(format!("group: there is no group {group:?}, but {known}"));
        }
        if groups.contains_key(&self.name) {
            problems.push("name: there is a group of that name, with the same path".to_owned());
        }
        problems
            .into_iter()
            .map(|problem| format!("check {:?}: {problem}", self.name))
            .collect()
    }
}

const LEAST_PERIOD: Duration = Duration::from_millis(10);
const MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns what is wrong with the name of a check or a group, which is a part of a path.
pub(crate) fn name_problem(name: &str) -> Option<String> {
    let is_first = |byte: &u8| byte.is_ascii_alphanumeric();
    let is_good = (1..=64).contains(&name.len())
        && name.as_bytes().first().is_some_and(is_first)
        && (name.bytes()).all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && name != "ping";
    (!is_good).then(|| {
        "name: not 1 to 64 letters, digits, '-', '_' and '.' that begin with a letter or digit, or \
         \"ping\", which is taken"
            .to_owned()
    })
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("groups", &self.groups)
            .field("period", &self.period)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
