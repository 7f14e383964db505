use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tower_ops_core::config::ConfigError;
use tower_ops_core::recorder::{RecorderHandle, SharedRecorder};

use crate::lifecycle::Lifecycle;
use crate::lifecycle::state::LifecycleState;
use crate::metrics::LifecycleMetrics;
use crate::report::ShutdownReport;
use crate::restart_count;
use crate::timeline::Timeline;

/// The default of [`pre_drain`](LifecycleBuilder::pre_drain).
pub const DEFAULT_PRE_DRAIN: Duration = Duration::from_secs(5);
/// The default of [`drain_timeout`](LifecycleBuilder::drain_timeout).
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(15);
/// The default of [`abort_timeout`](LifecycleBuilder::abort_timeout).
pub const DEFAULT_ABORT_TIMEOUT: Duration = Duration::from_secs(1);
/// The default of [`hooks_timeout`](LifecycleBuilder::hooks_timeout).
pub const DEFAULT_HOOKS_TIMEOUT: Duration = Duration::from_secs(5);
/// The default of [`margin`](LifecycleBuilder::margin).
pub const DEFAULT_MARGIN: Duration = Duration::from_secs(2);
/// The default of [`grace_period`](LifecycleBuilder::grace_period), which is that of Kubernetes.
pub const DEFAULT_GRACE_PERIOD: Duration = Duration::from_secs(30);

/// Configures a [`Lifecycle`]. Made by [`Lifecycle::builder`].
///
/// The parts of a shutdown, in their order:
///
/// | part | setting | default |
/// |---|---|---|
/// | not ready, still serving | [`pre_drain`](Self::pre_drain) | 5 s, from the first trigger |
/// | accept nothing new, end what is in flight | [`drain_timeout`](Self::drain_timeout) | 15 s |
/// | abort what did not end | [`abort_timeout`](Self::abort_timeout) | 1 s |
/// | run hooks | [`hooks_timeout`](Self::hooks_timeout) | 5 s for all |
/// | exit | [`margin`](Self::margin) | 2 s |
///
/// Together they have to fit into the [`grace_period`](Self::grace_period) of 30 s.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_ops_lifecycle::Lifecycle;
///
/// # fn main() -> Result<(), tower_ops_lifecycle::ConfigError> {
/// let lifecycle = Lifecycle::builder()
///     .drain_timeout(Duration::from_secs(60))
///     .grace_period(Duration::from_secs(90)) // as in the pod's specification
///     .expect_step("migrate")
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LifecycleBuilder {
    config: Config,
    over_grace_period: bool,
    restart_count_file: Option<PathBuf>,
    recorder: RecorderHandle,
}

/// What a lifecycle keeps of its builder.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) timeline: Timeline,
    pub(crate) quiet: Option<Duration>,
    pub(crate) last_connection: Option<LastConnection>,
    pub(crate) steps: Vec<Cow<'static, str>>,
    pub(crate) signals: bool,
    pub(crate) exit: ExitAction,
    pub(crate) exit_when_overdue: bool,
    pub(crate) workers: Option<usize>,
    pub(crate) systemd: bool,
}

type LastConnection = Arc<dyn Fn() -> Option<Instant> + Send + Sync>;
type ExitAction = Arc<dyn Fn(&ShutdownReport, i32) + Send + Sync>;

impl LifecycleBuilder {
    pub(crate) fn new() -> Self {
        Self {
            config: Config {
                timeline: Timeline {
                    pre_drain: DEFAULT_PRE_DRAIN,
                    drain: DEFAULT_DRAIN_TIMEOUT,
                    abort: DEFAULT_ABORT_TIMEOUT,
                    hooks: DEFAULT_HOOKS_TIMEOUT,
                    margin: DEFAULT_MARGIN,
                    grace_period: DEFAULT_GRACE_PERIOD,
                },
                quiet: None,
                last_connection: None,
                steps: Vec::new(),
                signals: true,
                exit: Arc::new(exit),
                exit_when_overdue: true,
                workers: None,
                systemd: false,
            },
            over_grace_period: false,
            restart_count_file: None,
            recorder: RecorderHandle::default(),
        }
    }

    /// Sets how long the process still serves after the first trigger, while it reports that it is
    /// not ready. 5 s by default; a day at most, as all times here.
    ///
    /// Load balancers need that time to stop sending requests. If yours checks health itself, use
    /// its interval times its threshold, and add its deregistration delay.
    #[must_use]
    pub const fn pre_drain(mut self, time: Duration) -> Self {
        self.config.timeline.pre_drain = time;
        self
    }

    /// Sets how long work in flight may take to end. 15 s by default.
    #[must_use]
    pub const fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.config.timeline.drain = timeout;
        self
    }

    /// Sets how long [participants](Lifecycle::on_drain) may take after the drain's deadline to
    /// abort what is left and to report it. 1 s by default. It is not used up if everything ended
    /// in time.
    #[must_use]
    pub const fn abort_timeout(mut self, timeout: Duration) -> Self {
        self.config.timeline.abort = timeout;
        self
    }

    /// Sets how long all hooks together may take. 5 s by default; more than 0.
    #[must_use]
    pub const fn hooks_timeout(mut self, timeout: Duration) -> Self {
        self.config.timeline.hooks = timeout;
        self
    }

    /// Sets the time that is kept free at the end, in which the last listeners close and the
    /// process exits. 2 s by default.
    #[must_use]
    pub const fn margin(mut self, time: Duration) -> Self {
        self.config.timeline.margin = time;
        self
    }

    /// Sets how long after the first trigger the process is killed:
    /// `terminationGracePeriodSeconds` in Kubernetes, `TimeoutStopSec` in systemd. 30 s by default.
    #[must_use]
    pub const fn grace_period(mut self, time: Duration) -> Self {
        self.config.timeline.grace_period = time;
        self
    }

    /// Sets whether the shutdown may take longer than the grace period: for a process that nothing
    /// kills. Off by default; [`build`](Self::build) then rejects such a configuration.
    #[must_use]
    pub const fn allow_over_grace_period(mut self, allow: bool) -> Self {
        self.over_grace_period = allow;
        self
    }

    /// Ends the pre-drain early, when no new connection came for `window`. Off by default; between
    /// 0 s and [`pre_drain`](Self::pre_drain).
    ///
    /// The lifecycle has to know when connections come. Either the accept loop touches
    /// [`Lifecycle::activity`], or you set [`last_connection`](Self::last_connection). With
    /// neither, the pre-drain takes its full time.
    ///
    /// Clients that keep their connections open send requests, not connections. Use
    /// [`ConnectionCloseLayer`](crate::ConnectionCloseLayer) as well.
    #[must_use]
    pub fn wait_for_quiet(mut self, window: impl Into<Option<Duration>>) -> Self {
        self.config.quiet = window.into();
        self
    }

    /// Sets a source for the time of the last new connection, instead of [`Lifecycle::activity`].
    /// It is called a few times in a shutdown, never before.
    #[must_use]
    pub fn last_connection(
        mut self,
        source: impl Fn() -> Option<Instant> + Send + Sync + 'static,
    ) -> Self {
        self.config.last_connection = Some(Arc::new(source));
        self
    }

    /// Registers a start-up step. The process gets ready by itself when all registered steps are
    /// done. Without any, it gets ready by [`mark_ready`](Lifecycle::mark_ready).
    #[must_use]
    pub fn expect_step(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.config.steps.push(name.into());
        self
    }

    /// Sets whether [`run`](Lifecycle::run) listens to SIGTERM and SIGINT, or to Ctrl-C where there
    /// are no signals. It does by default.
    ///
    /// When the shutdown is over, or the last handle is dropped before one began, these signals end
    /// the process, as they do by default. One exception: the kubelet always sends a SIGTERM after
    /// [`/prestop`](crate::PreStop), so the first one within the grace period is ignored. If your
    /// own signal handlers have to outlive the lifecycle, use `false` and call
    /// [`trigger`](Lifecycle::trigger).
    #[must_use]
    pub const fn signals(mut self, listen: bool) -> Self {
        self.config.signals = listen;
        self
    }

    /// Sets whether a process that got a signal exits when its shutdown is overdue, whatever keeps
    /// it running: a task that computes and never waits, or a runtime whose threads are all
    /// blocked. It does by default.
    ///
    /// A thread, which starts with the signal, waits until the shutdown is over or should be. Then
    /// it waits for half of the [margin](Self::margin), 500 ms at least. If the process still runs,
    /// it does what [`on_second_signal`](Self::on_second_signal) configures.
    #[must_use]
    pub const fn exit_when_overdue(mut self, exit: bool) -> Self {
        self.config.exit_when_overdue = exit;
        self
    }

    /// Sets what happens at the second signal. The function gets the report and the exit code.
    ///
    /// By default it writes the report to standard error and exits with 143 for SIGTERM and 130 for
    /// SIGINT. Your function has to end the process: if it returns, the rest of the shutdown is not
    /// carried out.
    #[must_use]
    pub fn on_second_signal(
        mut self,
        exit: impl Fn(&ShutdownReport, i32) + Send + Sync + 'static,
    ) -> Self {
        self.config.exit = Arc::new(exit);
        self
    }

    /// Sets the value of `server_workers`. By default it is the number of worker threads of the
    /// runtime in which [`run`](Lifecycle::run) was called first.
    #[must_use]
    pub const fn workers(mut self, workers: usize) -> Self {
        self.config.workers = Some(workers);
        self
    }

    /// Counts restarts in this file, and publishes the count as `restart_count`. Off by default.
    /// The first start is not a restart.
    ///
    /// [`build`](Self::build) reads and replaces the file, which blocks for some milliseconds. The
    /// file is whole after a crash. If it is torn, the count begins again. If it holds something
    /// else, it is left alone. Both are logged, and returned by
    /// [`restart_count_problem`](Lifecycle::restart_count_problem). In Kubernetes, put the file on
    /// a volume that outlives the container. Only one process may use it.
    #[must_use]
    pub fn restart_count_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.restart_count_file = Some(path.into());
        self
    }

    /// Sets the recorder of the metrics. By default it is the process's recorder, which has to be
    /// installed before [`build`](Self::build).
    #[must_use]
    pub fn recorder(mut self, recorder: SharedRecorder) -> Self {
        self.recorder = RecorderHandle::new(Some(recorder));
        self
    }

    /// Sets whether systemd is notified when the process is ready and when it stops
    /// (`Type=notify`). Off by default. Without `NOTIFY_SOCKET` in the environment it does nothing.
    #[cfg(feature = "systemd")]
    #[cfg_attr(docsrs, doc(cfg(feature = "systemd")))]
    #[must_use]
    pub const fn notify_systemd(mut self, notify: bool) -> Self {
        self.config.systemd = notify;
        self
    }

    /// Checks the configuration without building.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid; the error has every problem.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::from_problems("the lifecycle", self.problems())
    }

    /// Builds the lifecycle. Its uptime and its start-up begin now.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid; the error has every problem.
    pub fn build(self) -> Result<Lifecycle, ConfigError> {
        self.validate()?;
        Ok(self.into_lifecycle())
    }

    /// Must be valid.
    pub(crate) fn into_lifecycle(self) -> Lifecycle {
        let restarts = self
            .restart_count_file
            .map(|it| restart_count::count_start(&it));
        let metrics = LifecycleMetrics::register(&self.recorder, restarts.as_ref());
        if let Some(problem) = restarts.as_ref().and_then(|it| it.problem.as_ref()) {
            tracing::warn!("the restart count: {problem}");
        }
        Lifecycle {
            state: LifecycleState::new(self.config, metrics, restarts),
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = self.config.timeline.problems(self.over_grace_period);
        let pre_drain = self.config.timeline.pre_drain;
        if let Some(window) = self.config.quiet
            && (window.is_zero() || window >= pre_drain)
        {
            problems.push(format!(
                "wait_for_quiet: {window:?} is not between 0 s and the {pre_drain:?} of pre_drain"
            ));
        }
        let steps = &self.config.steps;
        for (place, name) in steps.iter().enumerate() {
            if name.is_empty() {
                problems.push("expect_step: a name is empty".to_owned());
            } else if steps[..place].contains(name) {
                problems.push(format!("expect_step: {name:?} is given twice"));
            }
        }
        if self.config.workers == Some(0) {
            problems.push("workers: 0 cannot serve anything".to_owned());
        }
        if let Some(path) = &self.restart_count_file
            && path.file_name().is_none()
        {
            problems.push(format!(
                "restart_count_file: {:?} is not the path of a file",
                path.display().to_string()
            ));
        }
        problems
    }
}

/// Writes the report to standard error as well: a logger that works in the background would lose
/// it.
fn exit(report: &ShutdownReport, code: i32) {
    use std::io::Write as _;

    let _ = writeln!(std::io::stderr(), "{report}");
    std::process::exit(code);
}

impl fmt::Debug for LifecycleBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LifecycleBuilder")
            .field("timeline", &self.config.timeline)
            .field("allow_over_grace_period", &self.over_grace_period)
            .field("wait_for_quiet", &self.config.quiet)
            .field("steps", &self.config.steps)
            .field("signals", &self.config.signals)
            .field("exit_when_overdue", &self.config.exit_when_overdue)
            .field("workers", &self.config.workers)
            .field("restart_count_file", &self.restart_count_file)
            .field("systemd", &self.config.systemd)
            .finish_non_exhaustive()
    }
}
