use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tower_ops_core::recorder::RecorderHandle;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Filtered;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::builder::LogsBuilder;
use crate::filter::FilterError;
use crate::filter::reload::LogsFilter;
use crate::format::Style;
use crate::layer::{LogsLayer, Shared};
use crate::level::service::LevelService;
use crate::level::{Level, SetError};
use crate::panic_hook;
use crate::ring::service::RingService;
use crate::writer::Writer;

/// The log of a process: a layer for `tracing`, its filter, and the thread that writes.
///
/// Clones are cheap and are the same one. The thread ends with the last of them and of its layers,
/// when it has written what is in the queue.
///
/// # Examples
///
/// With other layers:
///
/// ```
/// use tower_ops_logs::{Format, Logs};
/// use tracing_subscriber::layer::SubscriberExt;
///
/// let logs = Logs::builder().format(Format::Json).build()?;
/// let subscriber = tracing_subscriber::registry().with(logs.layer());
/// tracing::subscriber::set_global_default(subscriber)?;
/// let _flushed_at_the_end = logs.activate();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Logs {
    inner: Arc<Inner>,
}

struct Inner {
    layer: Arc<Shared>,
    level: Arc<Level>,
    flush_timeout: Duration,
    panic_events: bool,
}

static ACTIVE: OnceLock<Logs> = OnceLock::new();

impl Logs {
    /// Returns a builder with the default settings.
    pub fn builder() -> LogsBuilder {
        LogsBuilder::new()
    }

    pub(crate) fn new(
        layer: Shared,
        filter: LogsFilter,
        flush_timeout: Duration,
        panic_events: bool,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                layer: Arc::new(layer),
                level: Level::new(filter),
                flush_timeout,
                panic_events,
            }),
        }
    }

    /// Makes the layer that writes the lines of a subscriber. Its filter is its own: other layers see
    /// what they want to see.
    #[must_use]
    pub fn layer<S>(&self) -> Filtered<LogsLayer, LogsFilter, S>
    where
        S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    {
        let shared = Arc::clone(&self.inner.layer);
        LogsLayer { shared }.with_filter(self.inner.level.filter().clone())
    }

    /// Installs a subscriber with this layer alone for the whole process, and
    /// [activates](Self::activate) the log.
    ///
    /// # Errors
    ///
    /// If the process has a subscriber. Nothing is changed then.
    pub fn install(&self) -> Result<LogsGuard, AlreadyInstalled> {
        let subscriber = Registry::default().with(self.layer());
        tracing::subscriber::set_global_default(subscriber).map_err(|_| AlreadyInstalled(()))?;
        Ok(self.activate())
    }

    /// Makes this the log of the process, as [`active`](Self::active) returns it, unless there is
    /// one, and turns panics into events, unless [switched off](LogsBuilder::panic_events). For
    /// those who install the subscriber themselves.
    ///
    /// Keep the guard to the end of `main`: what is in the queue is written when it is dropped.
    pub fn activate(&self) -> LogsGuard {
        let _ = ACTIVE.set(self.clone());
        if self.inner.panic_events {
            panic_hook::install();
        }
        LogsGuard {
            logs: Some(self.clone()),
        }
    }

    /// Returns the log of the process.
    #[must_use]
    pub fn active() -> Option<Self> {
        ACTIVE.get().cloned()
    }

    /// Waits until every line that was logged before is written, and blocks the thread meanwhile.
    /// Returns whether they are.
    #[must_use = "there may be lines that are not written"]
    pub fn flush(&self, timeout: Duration) -> bool {
        self.writer().flush(timeout)
    }

    /// Returns how many lines of a level were dropped, or could not be written.
    #[must_use]
    pub fn lost(&self, level: tracing::Level) -> u64 {
        self.writer().shared().losses.of(level)
    }

    /// Counts lost lines in a recorder, as `tower_ops_log_lines_dropped_total{level}`, from now on
    /// and what was lost before. The first recorder stays.
    ///
    /// Without this they are counted in the process's recorder, once a line was lost.
    pub fn register_metrics(&self, recorder: &RecorderHandle) {
        self.writer().shared().losses.register(recorder);
    }

    /// Returns the filter, as directives.
    #[must_use]
    pub fn filter(&self) -> String {
        self.level().current().filter
    }

    /// Changes the filter, for good or for a while, as [`LevelService`] does.
    ///
    /// # Errors
    ///
    /// If the directives are wrong, or no thread can be started that changes them back. The filter
    /// stays as it was then.
    pub fn set_filter(
        &self,
        directives: &str,
        time: impl Into<Option<Duration>>,
    ) -> Result<(), FilterError> {
        match self.level().set(directives, time.into()) {
            Ok(_) => Ok(()),
            Err(SetError::Filter(error)) => Err(error),
            Err(SetError::Thread(error)) => Err(FilterError::of_thread(&error)),
        }
    }

    /// Makes the service for `/loglevel`.
    #[must_use]
    pub fn level_service(&self) -> LevelService {
        LevelService::new(self.clone())
    }

    /// Makes the service for `/logs`, if there is a [ring](LogsBuilder::ring) of the last lines.
    #[must_use]
    pub fn ring_service(&self) -> Option<RingService> {
        let ring = self.writer().shared().ring.as_ref();
        ring.map(|_| RingService::new(self.clone()))
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.inner.layer.writer
    }

    pub(crate) fn level(&self) -> &Arc<Level> {
        &self.inner.level
    }

    pub(crate) fn style(&self) -> Style {
        self.inner.layer.style
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs")
            .field("style", &self.style())
            .field("filter", &self.filter())
            .finish_non_exhaustive()
    }
}

/// Writes what is in the queue when it is dropped.
///
/// That takes as long as the reader of the output needs, and at most the
/// [flush timeout](LogsBuilder::flush_timeout): 2 s by default. After that it writes to standard
/// error that lines are missing. `std::process::exit` drops nothing: call
/// [`flush`](Logs::flush) before it.
#[derive(Debug)]
#[must_use = "lines that wait are written when it is dropped"]
pub struct LogsGuard {
    logs: Option<Logs>,
}

impl LogsGuard {
    /// One that does nothing.
    const fn none() -> Self {
        Self { logs: None }
    }
}

impl Drop for LogsGuard {
    fn drop(&mut self) {
        let Some(logs) = &self.logs else { return };
        if !logs.flush(logs.inner.flush_timeout) {
            // If that fails as well, nobody is there to read it.
            let _ = writeln!(
                io::stderr(),
                "some log lines were not written: the output took none for {:?}",
                logs.inner.flush_timeout
            );
        }
    }
}

/// The process has a subscriber already.
#[derive(Debug)]
pub struct AlreadyInstalled(());

impl fmt::Display for AlreadyInstalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tracing subscriber is installed already: add logs.layer() to it instead")
    }
}

impl std::error::Error for AlreadyInstalled {}

/// Starts the log of the process with the default settings: text to standard output at `info`, by
/// `RUST_LOG` and `LOG_FORMAT`. For examples and small programs.
///
/// It does not fail: what is wrong in the environment is logged and replaced by the default, and a
/// subscriber that is installed already stays.
///
/// # Examples
///
/// ```
/// let _guard = tower_ops_logs::init();
/// tracing::info!(port = 3000, "listening");
/// ```
pub fn init() -> LogsGuard {
    let (logs, problem) = match Logs::builder().build() {
        Ok(logs) => (Ok(logs), None),
        Err(error) => (
            Logs::builder().environment(false).build(),
            Some(error.to_string()),
        ),
    };
    let installed = logs
        .map_err(|error| error.to_string())
        .and_then(|logs| logs.install().map_err(|error| error.to_string()));
    let guard = match installed {
        Ok(guard) => guard,
        Err(error) => {
            tracing::warn!(target: "tower_ops::logs", error, "the log was not started");
            LogsGuard::none()
        }
    };
    if let Some(problem) = problem {
        tracing::warn!(target: "tower_ops::logs", problem, "the default settings are used");
    }
    guard
}
