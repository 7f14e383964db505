use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics::Recorder;
use tokio::time::Instant;
use tower_ops_core::config::ConfigError;

use crate::config::{Config, ExitAction, LastConnection};
use crate::lifecycle::Lifecycle;
use crate::metrics::LifecycleMetrics;
use crate::report::ShutdownReport;
use crate::restarts;
use crate::shared::Shared;
use crate::timeline::Timeline;

/// How long a process still serves after the trigger, unless told otherwise.
pub const DEFAULT_PRE_DRAIN: Duration = Duration::from_secs(5);
/// How long what is in flight may take to end, unless told otherwise.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(15);
/// How long it may take to abort what did not end, unless told otherwise.
pub const DEFAULT_ABORT: Duration = Duration::from_secs(1);
/// How long all hooks together may take, unless told otherwise.
pub const DEFAULT_HOOKS: Duration = Duration::from_secs(5);
/// What is kept free at the end, unless told otherwise.
pub const DEFAULT_MARGIN: Duration = Duration::from_secs(2);
/// When the process is killed, unless told otherwise: Kubernetes' own default.
pub const DEFAULT_GRACE_PERIOD: Duration = Duration::from_secs(30);

/// Configures a [`Lifecycle`]. Made by [`Lifecycle::builder`].
///
/// | part of the shutdown | setting | default |
/// |---|---|---|
/// | not ready, still serving | [`pre_drain`](Self::pre_drain) | 5 s, from the first trigger |
/// | nothing new, end what is there | [`drain`](Self::drain) | 15 s |
/// | abort what did not end | [`abort`](Self::abort) | 1 s |
/// | hooks | [`hooks`](Self::hooks) | 5 s in all |
/// | exit | [`margin`](Self::margin) | 2 s |
/// | killed | [`grace_period`](Self::grace_period) | 30 s |
#[derive(Clone)]
pub struct LifecycleBuilder {
    timeline: Timeline,
    over_grace_period: bool,
    quiet: Option<Duration>,
    last_connection: Option<LastConnection>,
    steps: Vec<Cow<'static, str>>,
    signals: bool,
    exit: ExitAction,
    exit_when_overdue: bool,
    workers: Option<usize>,
    restart_count_file: Option<PathBuf>,
    recorder: Option<Arc<dyn Recorder + Send + Sync>>,
    systemd: bool,
}

impl LifecycleBuilder {
    pub(crate) fn new() -> Self {
        Self {
            timeline: Timeline {
                pre_drain: DEFAULT_PRE_DRAIN,
                drain: DEFAULT_DRAIN,
                abort: DEFAULT_ABORT,
                hooks: DEFAULT_HOOKS,
                margin: DEFAULT_MARGIN,
                grace_period: DEFAULT_GRACE_PERIOD,
            },
            over_grace_period: false,
            quiet: None,
            last_connection: None,
            steps: Vec::new(),
            signals: true,
            exit: Arc::new(exit),
            exit_when_overdue: true,
            workers: None,
            restart_count_file: None,
            recorder: None,
            systemd: false,
        }
    }

    /// How long the process says that it is not ready, and serves all the same:
    /// until whoever routes to it has noticed. 5 s by default, from the first
    /// trigger on, whoever that was and whenever the second one comes.
    ///
    /// Behind a load balancer that checks health itself: its interval times its
    /// threshold, and its deregistration delay.
    #[must_use]
    pub const fn pre_drain(mut self, time: Duration) -> Self {
        self.timeline.pre_drain = time;
        self
    }

    /// How long what is in flight may take to end. 15 s by default.
    #[must_use]
    pub const fn drain(mut self, time: Duration) -> Self {
        self.timeline.drain = time;
        self
    }

    /// How long [participants](Lifecycle::on_drain) may take, after the drain's
    /// deadline, to abort what is left and to say what it was. 1 s by default; not
    /// spent if everything ended in time.
    #[must_use]
    pub const fn abort(mut self, time: Duration) -> Self {
        self.timeline.abort = time;
        self
    }

    /// How long all hooks together may take. 5 s by default.
    #[must_use]
    pub const fn hooks(mut self, time: Duration) -> Self {
        self.timeline.hooks = time;
        self
    }

    /// What is kept free at the end, for the last listeners to close and the process
    /// to exit. 2 s by default.
    #[must_use]
    pub const fn margin(mut self, time: Duration) -> Self {
        self.timeline.margin = time;
        self
    }

    /// How long after the trigger the process is killed:
    /// `terminationGracePeriodSeconds` in Kubernetes, `TimeoutStopSec` in systemd.
    /// 30 s by default.
    #[must_use]
    pub const fn grace_period(mut self, time: Duration) -> Self {
        self.timeline.grace_period = time;
        self
    }

    /// Whether the timeline may be longer than the grace period: where nobody kills
    /// the process. Off by default, and [`build`](Self::build) then refuses it.
    #[must_use]
    pub const fn allow_over_grace_period(mut self, allow: bool) -> Self {
        self.over_grace_period = allow;
        self
    }

    /// Ends the pre-drain early, once no new connection came for that long. Off by
    /// default.
    ///
    /// Needs to know when connections come: let the accept loop touch
    /// [`Lifecycle::activity`], or give a closure to
    /// [`last_connection`](Self::last_connection). With neither, the pre-drain takes
    /// its full time.
    ///
    /// Clients that keep their connections open send requests, not connections: use
    /// [`ConnectionCloseLayer`](crate::ConnectionCloseLayer) as well.
    #[must_use]
    pub fn wait_for_quiet(mut self, window: impl Into<Option<Duration>>) -> Self {
        self.quiet = window.into();
        self
    }

    /// Where to ask for the moment of the last new connection, in place of
    /// [`Lifecycle::activity`]. Asked a few times in a shutdown, never before.
    #[must_use]
    pub fn last_connection(
        mut self,
        source: impl Fn() -> Option<Instant> + Send + Sync + 'static,
    ) -> Self {
        self.last_connection = Some(Arc::new(source));
        self
    }

    /// Registers a start-up step: the process is ready by itself when all that were
    /// registered are done. With none it is when
    /// [`mark_ready`](Lifecycle::mark_ready) is called.
    #[must_use]
    pub fn expect_step(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.steps.push(name.into());
        self
    }

    /// Whether SIGTERM and SIGINT (Ctrl-C where there are no signals) are listened
    /// to. They are by default, from [`run`](Lifecycle::run) on.
    ///
    /// Once the shutdown is over, or when the last handle is dropped before one has begun, they
    /// end the process as if nothing had ever listened to them. Only a first SIGTERM after
    /// [`/prestop`](crate::PreStop), which the kubelet sends in any case, is ignored within the
    /// grace period. Handlers of your own that are to outlive the lifecycle need `false` here, and
    /// call [`trigger`](Lifecycle::trigger).
    #[must_use]
    pub const fn signals(mut self, listen: bool) -> Self {
        self.signals = listen;
        self
    }

    /// Whether a process that was told to end by a signal exits when it is overdue, whatever
    /// keeps it: a task that computes and never waits, or a runtime that is blocked as a whole.
    /// On by default. A thread, which there is from the signal on only, waits until the shutdown
    /// should be over, or is, and for half of the [margin](Self::margin) at least 500 ms more.
    ///
    /// It does what [`on_second_signal`](Self::on_second_signal) says.
    #[must_use]
    pub const fn exit_when_overdue(mut self, exit: bool) -> Self {
        self.exit_when_overdue = exit;
        self
    }

    /// What to do at the second signal, with the report and the exit code.
    ///
    /// By default the report is written to standard error, and the process exits
    /// with 143 for SIGTERM and 130 for SIGINT. What is given here has to end the
    /// process: if it returns, nothing more of the shutdown is carried out.
    #[must_use]
    pub fn on_second_signal(
        mut self,
        exit: impl Fn(&ShutdownReport, i32) + Send + Sync + 'static,
    ) -> Self {
        self.exit = Arc::new(exit);
        self
    }

    /// What `server_workers` says. By default the number of worker threads of the
    /// runtime in which [`run`](Lifecycle::run) was called first.
    #[must_use]
    pub const fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Counts the restarts in this file, and shows them in `restart_count`. Off by
    /// default. The first start is no restart.
    ///
    /// [`build`](Self::build) reads and writes the file (some milliseconds), in such a
    /// way that it is whole after a crash. If it is torn the count begins again; if it
    /// is something else it is left alone; either is logged, and told by
    /// [`restart_count_problem`](Lifecycle::restart_count_problem). In Kubernetes it has
    /// to be on a volume that outlives the container, and one process may use it.
    #[must_use]
    pub fn restart_count_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.restart_count_file = Some(path.into());
        self
    }

    /// Records in this recorder, and not in the process's one, which has to be
    /// installed before [`build`](Self::build).
    #[must_use]
    pub fn recorder(mut self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Tells systemd when the process is ready and when it stops
    /// (`Type=notify`). Off by default; does nothing if systemd did not ask.
    #[cfg(feature = "systemd")]
    #[cfg_attr(docsrs, doc(cfg(feature = "systemd")))]
    #[must_use]
    pub const fn notify_systemd(mut self, notify: bool) -> Self {
        self.systemd = notify;
        self
    }

    /// Whether this can be built.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid; the error lists every problem.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::check("the lifecycle", self.problems())
    }

    /// Builds the lifecycle, which begins in this moment.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid; the error lists every problem.
    pub fn build(self) -> Result<Lifecycle, ConfigError> {
        self.check()?;
        Ok(self.into_lifecycle())
    }

    /// Must be valid.
    pub(crate) fn into_lifecycle(self) -> Lifecycle {
        let counts_restarts = self.restart_count_file.is_some();
        let metrics = LifecycleMetrics::register(self.recorder.as_ref(), counts_restarts);
        let restarts = self
            .restart_count_file
            .as_deref()
            .map(restarts::count_start);
        if let Some(restarts) = &restarts {
            metrics.set_restarts(restarts.count);
            if let Some(problem) = &restarts.problem {
                tracing::warn!("the restart count: {problem}");
            }
        }
        let config = Config {
            timeline: self.timeline,
            quiet: self.quiet,
            last_connection: self.last_connection,
            steps: self.steps,
            signals: self.signals,
            exit: self.exit,
            exit_when_overdue: self.exit_when_overdue,
            workers: self.workers,
            systemd: self.systemd,
        };
        Lifecycle::from_shared(Shared::new(config, metrics, restarts))
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let timeline = &self.timeline;
        let times = [
            ("pre_drain", timeline.pre_drain),
            ("drain", timeline.drain),
            ("abort", timeline.abort),
            ("hooks", timeline.hooks),
            ("margin", timeline.margin),
            ("grace_period", timeline.grace_period),
        ];
        for (name, time) in times.iter().filter(|(_, time)| *time > MOST) {
            problems.push(format!("{name}: {time:?} is more than a day"));
        }
        if timeline.hooks.is_zero() {
            problems.push("hooks: 0 s leaves no time for any hook".to_owned());
        }
        let all_bounded = times.iter().all(|(_, time)| *time <= MOST);
        if all_bounded && !self.over_grace_period && timeline.total() > timeline.grace_period {
            problems.push(format!(
                "grace_period: {:?} is less than the {:?} that the shutdown may take (pre_drain \
                 {:?}, drain {:?}, abort {:?}, hooks {:?}, margin {:?}); shorten one, or raise \
                 the grace period where the process is killed, or allow_over_grace_period(true)",
                timeline.grace_period,
                timeline.total(),
                timeline.pre_drain,
                timeline.drain,
                timeline.abort,
                timeline.hooks,
                timeline.margin,
            ));
        }
        if let Some(window) = self.quiet
            && (window.is_zero() || window >= timeline.pre_drain)
        {
            problems.push(format!(
                "wait_for_quiet: {window:?} is not between 0 s and the {:?} of pre_drain",
                timeline.pre_drain
            ));
        }
        for (place, name) in self.steps.iter().enumerate() {
            if name.is_empty() {
                problems.push("expect_step: a name is empty".to_owned());
            } else if self.steps[..place].contains(name) {
                problems.push(format!("expect_step: {name:?} is given twice"));
            }
        }
        if self.workers == Some(0) {
            problems.push("workers: 0 cannot serve anything".to_owned());
        }
        if let Some(path) = &self.restart_count_file
            && path.file_name().is_none()
        {
            problems.push(format!(
                "restart_count_file: {:?} is no path of a file",
                path.display().to_string()
            ));
        }
        problems
    }
}

/// So that no sum of times overflows a clock.
const MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// The report is written here as well as logged: what logs in the background would
/// lose it.
fn exit(report: &ShutdownReport, code: i32) {
    use std::io::Write as _;

    let _ = writeln!(std::io::stderr(), "{report}");
    std::process::exit(code);
}

impl fmt::Debug for LifecycleBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LifecycleBuilder")
            .field("timeline", &self.timeline)
            .field("allow_over_grace_period", &self.over_grace_period)
            .field("wait_for_quiet", &self.quiet)
            .field("steps", &self.steps)
            .field("signals", &self.signals)
            .field("exit_when_overdue", &self.exit_when_overdue)
            .field("workers", &self.workers)
            .field("restart_count_file", &self.restart_count_file)
            .field("systemd", &self.systemd)
            .finish_non_exhaustive()
    }
}
