use std::fmt::Display;
use std::io;
use std::time::Duration;

use tower_ops_core::config::ConfigError;
use tracing::Level;

use self::check::Environment;
use crate::filter::reload::LogsFilter;
use crate::format::Format;
use crate::layer::Shared;
use crate::logs::{AlreadyInstalled, Logs, LogsGuard};
use crate::ring::Ring;
use crate::writer::Writer;
use crate::writer::losses::index;
use crate::writer::output::Output;
use crate::writer::queue::Queue;

mod check;

/// The bytes of lines that may wait to be written, by default.
pub const DEFAULT_QUEUE: usize = 8 * 1024 * 1024;
/// How full the queue may be for lines of a level to be added, in percent, by default: the most
/// severe level first.
pub const DEFAULT_DROP_AT: [u8; 5] = [100, 100, 90, 50, 50];
/// How long the end of `main` waits for what is in the queue, by default.
pub const DEFAULT_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
const MIN_QUEUE: usize = 256 * 1024;
const MIN_RING: usize = 64 * 1024;

/// Settings of [`Logs`].
///
/// | setting | default | environment |
/// |---|---|---|
/// | [`format`](Self::format) | text | `LOG_FORMAT`: `text`, `json`, `ecs` or `gcp` |
/// | [`filter`](Self::filter) | `info` | `RUST_LOG` |
/// | [`quiet`](Self::quiet) | noisy crates are held at `warn` | |
/// | [`field`](Self::field), [`field_of`](Self::field_of) | none | |
/// | [`gcp_project`](Self::gcp_project) | none | `GOOGLE_CLOUD_PROJECT` |
/// | [`color`](Self::color) | on a terminal | off by `NO_COLOR` or `TERM=dumb` |
/// | [`stderr`](Self::stderr), [`writer`](Self::writer) | standard output | |
/// | [`queue`](Self::queue) | 8 MiB | |
/// | [`drop_at`](Self::drop_at) | `debug` and `trace` 50 %, `info` 90 %, others 100 % | |
/// | [`ring`](Self::ring) | none | |
/// | [`panic_events`](Self::panic_events) | on | |
/// | [`flush_timeout`](Self::flush_timeout) | 2 s | |
///
/// What the environment sets takes the place of what the program sets, so that an operator has the
/// last word; an empty variable is unset.
///
/// # Examples
///
/// ```
/// use tower_ops_logs::{Format, Logs};
///
/// let logs = Logs::builder()
///     .format(Format::Json)
///     .filter("info,orders::db=debug")
///     .field("service", "orders")
///     .ring(1024 * 1024)
///     .build()?;
/// # drop(logs);
/// # Ok::<(), tower_ops_logs::ConfigError>(())
/// ```
#[derive(Debug)]
#[must_use = "it does nothing until it is built"]
pub struct LogsBuilder {
    format: Option<Format>,
    filter: Option<String>,
    quiet: bool,
    fields: Vec<Field>,
    gcp_project: Option<String>,
    color: Option<bool>,
    output: Output,
    queue: usize,
    drop_at: [u8; 5],
    ring: Option<usize>,
    panic_events: bool,
    flush_timeout: Duration,
    environment: bool,
}

#[derive(Debug)]
struct Field {
    /// Empty for every line.
    target: Box<str>,
    name: &'static str,
    value: String,
}

impl LogsBuilder {
    pub(crate) const fn new() -> Self {
        Self {
            format: None,
            filter: None,
            quiet: true,
            fields: Vec::new(),
            gcp_project: None,
            color: None,
            output: Output::Stdout,
            queue: DEFAULT_QUEUE,
            drop_at: DEFAULT_DROP_AT,
            ring: None,
            panic_events: true,
            flush_timeout: DEFAULT_FLUSH_TIMEOUT,
            environment: true,
        }
    }

    /// Sets what a line is. [`Format::Text`] by default; `LOG_FORMAT` takes its place.
    pub const fn format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// Sets which lines are written: a level, and levels of targets, separated by commas. `info` by
    /// default. `RUST_LOG` takes its place, or, without a level of its own, changes the targets that
    /// it names.
    pub fn filter(mut self, directives: impl Into<String>) -> Self {
        self.filter = Some(directives.into());
        self
    }

    /// Sets whether crates such as `hyper` and `h2`, which log every frame at `debug`, are held at
    /// `warn` unless a directive names them. They are by default.
    pub const fn quiet(mut self, quiet: bool) -> Self {
        self.quiet = quiet;
        self
    }

    /// Adds a field to every line, such as the version of the service. A field of the same name of an
    /// event or a span takes its place.
    pub fn field(self, name: &'static str, value: impl Display) -> Self {
        self.field_of("", name, value)
    }

    /// Adds a field to every line whose target begins so, such as the component that a module is.
    /// The longest target that fits counts, and takes the place of a [`field`](Self::field).
    pub fn field_of(
        mut self,
        target: impl Into<Box<str>>,
        name: &'static str,
        value: impl Display,
    ) -> Self {
        self.fields.push(Field {
            target: target.into(),
            name,
            value: value.to_string(),
        });
        self
    }

    /// Sets the Google Cloud project that the traces are in, for [`Format::Gcp`]. None by default:
    /// the trace id stands alone then. `GOOGLE_CLOUD_PROJECT` takes its place.
    pub fn gcp_project(mut self, project: impl Into<String>) -> Self {
        self.gcp_project = Some(project.into());
        self
    }

    /// Sets whether text has colours. By default it has on a terminal, unless `NO_COLOR` is set.
    pub const fn color(mut self, color: bool) -> Self {
        self.color = Some(color);
        self
    }

    /// Writes to standard error instead of standard output.
    pub fn stderr(mut self) -> Self {
        self.output = Output::Stderr;
        self
    }

    /// Writes to something else instead of standard output. One call may have many lines, and not
    /// all of the last one. It runs on a thread of its own; what takes long there fills the queue.
    pub fn writer(mut self, writer: impl io::Write + Send + 'static) -> Self {
        self.output = Output::Writer(Box::new(writer));
        self
    }

    /// Sets how many bytes of lines may wait to be written. 8 MiB by default, at least 256 KiB. They
    /// are shared evenly by the cores, up to 16. Twice as much more is in use while they are written.
    pub const fn queue(mut self, bytes: usize) -> Self {
        self.queue = bytes;
        self
    }

    /// Sets how full the queue may be, in percent, for lines of a level to be added to it: 1 to 100.
    /// Others are dropped and counted. By default `debug` and `trace` are dropped at 50 %, `info` at
    /// 90 %, `warn` and `error` when it is full.
    pub const fn drop_at(mut self, level: Level, percent: u8) -> Self {
        self.drop_at[index(level)] = percent;
        self
    }

    /// Keeps that many bytes of the last lines, for [`Logs::ring_service`]. None by default, at least
    /// 64 KiB. Each line counts 64 bytes more than it has, and costs the writing thread an
    /// allocation.
    pub const fn ring(mut self, bytes: usize) -> Self {
        self.ring = Some(bytes);
        self
    }

    /// Sets whether a panic becomes an event: once, at `error`, with the target `tower_ops::panic`,
    /// the request id and the trace id. It does by default. The hook of before is still called.
    pub const fn panic_events(mut self, panic_events: bool) -> Self {
        self.panic_events = panic_events;
        self
    }

    /// Sets how long [`LogsGuard`] waits for what is in the queue. 2 s by default.
    pub const fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.flush_timeout = timeout;
        self
    }

    /// Sets whether the environment is read. It is by default.
    pub const fn environment(mut self, read: bool) -> Self {
        self.environment = read;
        self
    }

    /// Checks the settings, and the environment.
    ///
    /// # Errors
    ///
    /// All that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let (_, problems) = self.check(self.read_environment());
        ConfigError::from_problems("the log", problems)
    }

    /// Starts the thread that writes. Nothing is installed.
    ///
    /// # Errors
    ///
    /// All that is wrong with the settings and the environment; or that the thread cannot be started.
    pub fn build(self) -> Result<Logs, ConfigError> {
        let environment = self.read_environment();
        self.build_in(environment)
    }

    /// Builds it and [installs](Logs::install) it.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build) and [`install`](Logs::install).
    pub fn install(self) -> Result<LogsGuard, InstallError> {
        let logs = self.build().map_err(InstallError::Config)?;
        logs.install().map_err(InstallError::Installed)
    }

    fn read_environment(&self) -> Environment {
        if self.environment {
            Environment::of_process()
        } else {
            Environment::default()
        }
    }

    pub(crate) fn build_in(self, environment: Environment) -> Result<Logs, ConfigError> {
        let (checked, problems) = self.check(environment);
        ConfigError::from_problems("the log", problems)?;
        let queue = Queue::new(self.queue, self.drop_at);
        let ring = self.ring.map(Ring::new);
        let writer = Writer::start(queue, ring, checked.style, self.output.open());
        let writer = match writer {
            Ok(writer) => writer,
            Err(error) => {
                let problem = format!("the thread that writes cannot be started: {error}");
                ConfigError::from_problems("the log", vec![problem])?;
                unreachable!("there is a problem");
            }
        };
        let layer = Shared::new(
            writer,
            checked.style,
            checked.constants,
            checked.of_targets,
            checked.project,
        );
        let filter = LogsFilter::new(checked.filter);
        Ok(Logs::new(
            layer,
            filter,
            self.flush_timeout,
            self.panic_events,
        ))
    }
}

/// Why a log was not installed.
#[derive(Debug)]
#[non_exhaustive]
pub enum InstallError {
    /// The settings, or the environment.
    Config(ConfigError),
    /// There is a subscriber.
    Installed(AlreadyInstalled),
}

impl Display for InstallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Installed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for InstallError {}

#[cfg(test)]
mod tests;
