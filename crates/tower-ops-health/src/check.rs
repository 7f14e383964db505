use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::meters::Gauge;
use crate::result::CheckResult;
use crate::status::Kind;

/// Looks whether something that a service needs works.
///
/// For checks with a state of their own; a closure in [`Check::new`] will mostly do.
///
/// # Cancel safety
///
/// The future is dropped when the check's timeout is over, or when checks end.
///
/// # Examples
///
/// ```
/// use tower_ops_health::{Check, CheckResult, HealthCheck};
///
/// struct Disk { path: std::path::PathBuf }
///
/// impl HealthCheck for Disk {
///     async fn check(&self) -> CheckResult {
///         self.path.is_dir().into()
///     }
/// }
///
/// let check = Check::with("spool", Disk { path: "/var/spool".into() }).critical();
/// # let _ = check;
/// ```
pub trait HealthCheck: Send + Sync + 'static {
    /// Looks once. Never called while an earlier look still runs.
    fn check(&self) -> impl Future<Output = CheckResult> + Send;
}

/// Held while a check runs, wherever that is: the next run waits for its end.
pub(crate) type Flight = OwnedSemaphorePermit;

pub(crate) type Running = Pin<Box<dyn Future<Output = CheckResult> + Send>>;

pub(crate) trait Run: Send + Sync {
    fn run(self: Arc<Self>, flight: Flight) -> Running;
}

struct Async<C>(C);

impl<C: HealthCheck> Run for Async<C> {
    fn run(self: Arc<Self>, flight: Flight) -> Running {
        Box::pin(async move {
            let _flight = flight;
            self.0.check().await
        })
    }
}

struct Blocking<F>(F);

impl<F, R> Run for Blocking<F>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Into<CheckResult>,
{
    fn run(self: Arc<Self>, flight: Flight) -> Running {
        Box::pin(async move {
            let runtime = Handle::current();
            let (look, looking) = oneshot::channel();
            // Not on the blocking pool: a runtime waits for that at its end, and with it the
            // process, however long a file system hangs.
            let thread = thread::Builder::new().name("health-check".into());
            let spawned = thread.spawn(move || {
                // The flight goes along: a timeout does not end a thread.
                let _flight = flight;
                let _entered = runtime.enter();
                let result = catch_unwind(AssertUnwindSafe(|| (self.0)().into()));
                // A timeout drops the other end.
                let _ = look.send(result);
            });
            if let Err(error) = spawned {
                return CheckResult::down(format!("no thread for the check: {error}"));
            }
            match looking.await {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => resume_unwind(panic),
                Err(_) => CheckResult::down("the check's thread has ended"),
            }
        })
    }
}

struct Closure<F>(F);

impl<F, Fut, R> HealthCheck for Closure<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send,
    R: Into<CheckResult>,
{
    async fn check(&self) -> CheckResult {
        (self.0)().await.into()
    }
}

/// A check, and when and how it runs.
///
/// By default it is [degrading](Kind::Degrading), in the group `readiness`, runs every
/// 10 s, has 2 s, and one failure or one success decides.
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
    pub(crate) kind: Kind,
    pub(crate) groups: BTreeSet<Arc<str>>,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
    pub(crate) initial_delay: Duration,
    pub(crate) failure_threshold: u32,
    pub(crate) success_threshold: u32,
    pub(crate) stale_after: Option<Duration>,
    pub(crate) routes: Vec<Arc<str>>,
    pub(crate) gauge: Option<Gauge>,
    /// What the check's own builder found wrong.
    pub(crate) problems: Vec<String>,
}

/// How often a check runs unless told otherwise.
pub const DEFAULT_PERIOD: Duration = Duration::from_secs(10);
/// How long one run may take unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// The group of a check that names none.
pub const READINESS: &str = "readiness";
/// The group that decides, with the runtime's heartbeat, about liveness.
pub const LIVENESS: &str = "liveness";
/// The group of which each check has to pass once before start-up is over.
pub const STARTUP: &str = "startup";

impl Check {
    /// A check that awaits what `look` returns: `()`, a `bool`, a [`CheckResult`], or a
    /// `Result` of `()` or [`CheckResult`].
    ///
    /// The name is shown in answers and is a label of metrics: 1 to 64 letters,
    /// digits, `-`, `_` and `.`, beginning with a letter or digit.
    ///
    /// What the future needs it has to own: clone handles in the closure, before the
    /// `async move`.
    pub fn new<F, Fut, R>(name: impl Into<Arc<str>>, look: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: Into<CheckResult> + 'static,
    {
        Self::with(name, Closure(look))
    }

    /// A check of a type of its own.
    pub fn with(name: impl Into<Arc<str>>, check: impl HealthCheck) -> Self {
        Self::from_run(name.into(), Arc::new(Async(check)))
    }

    /// A check that blocks: it runs on a thread of its own, which a process that ends does not
    /// wait for.
    ///
    /// Nothing can end it when its time is over. It is then down, and does not run
    /// again until the call has returned.
    pub fn blocking<F, R>(name: impl Into<Arc<str>>, look: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Into<CheckResult> + 'static,
    {
        Self::from_run(name.into(), Arc::new(Blocking(look)))
    }

    /// A check that always passes, for trying things out.
    pub fn always_ok(name: impl Into<Arc<str>>) -> Self {
        Self::new(name, || async { CheckResult::ok() })
    }

    /// A check that always fails, for trying out alerts.
    pub fn always_down(name: impl Into<Arc<str>>) -> Self {
        Self::new(name, || async { CheckResult::down("always down") })
    }

    fn from_run(name: Arc<str>, run: Arc<dyn Run>) -> Self {
        Self {
            name,
            run,
            kind: Kind::default(),
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

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its failure means.
    pub const fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Its failure makes its groups down.
    pub const fn critical(self) -> Self {
        self.kind(Kind::Critical)
    }

    /// Its failure makes its groups degraded. The default.
    pub const fn degrading(self) -> Self {
        self.kind(Kind::Degrading)
    }

    /// Its failure is reported and changes nothing.
    pub const fn informational(self) -> Self {
        self.kind(Kind::Informational)
    }

    /// Puts it into a group; may be called several times. [`READINESS`], [`LIVENESS`] and
    /// [`STARTUP`] are there, others are [declared](crate::HealthBuilder::group). A check
    /// that names no group is in `readiness`.
    ///
    /// In `liveness` belongs only what a restart of this process repairs: never a database.
    pub fn group(mut self, name: impl Into<Arc<str>>) -> Self {
        self.groups.insert(name.into());
        self
    }

    /// How often it runs: from start to start, up to a tenth more often so that instances
    /// do not march in step. 10 s by default; 10 ms at least.
    pub const fn period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    /// How long one run may take. 2 s by default; at most the period.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long it waits before its first run. Not at all by default.
    pub const fn initial_delay(mut self, delay: Duration) -> Self {
        self.initial_delay = delay;
        self
    }

    /// After how many failures in a row it is down. 1 by default.
    pub const fn failure_threshold(mut self, failures: u32) -> Self {
        self.failure_threshold = failures;
        self
    }

    /// After how many successes in a row it is up again. 1 by default.
    pub const fn success_threshold(mut self, successes: u32) -> Self {
        self.success_threshold = successes;
        self
    }

    /// How old its last result may get before it is unknown. Three periods by default;
    /// at least the period and the timeout together.
    pub fn stale_after(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.stale_after = age.into();
        self
    }

    /// Names a route that is of no use while this check is down: a template as axum has
    /// it, a path, or a path's beginning and `*`. A [`ShedLayer`](crate::ShedLayer) answers
    /// for it then. May be called several times.
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

    /// What is wrong with its settings, but for its groups.
    pub(crate) fn settings_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !is_name(&self.name) || self.name.as_ref() == "ping" {
            problems.push(
                "name: not 1 to 64 letters, digits, '-', '_' and '.' that begin with a letter or \
                 digit, or \"ping\", which is taken"
                    .to_owned(),
            );
        }
        if !(LEAST_PERIOD..=MOST).contains(&self.period) {
            problems.push(format!(
                "period: {:?} is not between {LEAST_PERIOD:?} and {MOST:?}",
                self.period
            ));
        }
        if self.timeout.is_zero() {
            problems.push("timeout: a run must be given some time".to_owned());
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
        problems
            .into_iter()
            .map(|problem| format!("check {:?}: {problem}", self.name))
            .collect()
    }
}

/// Below, a check would do nothing but run.
const LEAST_PERIOD: Duration = Duration::from_millis(10);
/// A day: what is looked at less often is no health check.
const MOST: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn is_name(name: &str) -> bool {
    let first = name.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_alphanumeric())
        && name.len() <= 64
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
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
