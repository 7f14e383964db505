use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use tower_ops_core::config::ConfigError;
use tower_ops_core::recorder::{RecorderHandle, SharedRecorder};
use tower_ops_core::shards;

use crate::history::reservoir::Reservoir;
use crate::history::ring::{FreeList, HistoryClock, Ring};
use crate::record::Record;
use crate::record::kind::Kind;
use crate::registry::Registry;
use crate::stats::routes::RouteTable;
use crate::stats::shard_stats::ShardStats;
use crate::tracker::{Inner, RequestTracker};

/// The default of [`max_history`](RequestTrackerBuilder::max_history).
pub const DEFAULT_MAX_HISTORY: usize = 1_000;
/// The default of [`max_routes`](RequestTrackerBuilder::max_routes).
pub const DEFAULT_MAX_ROUTES: usize = 256;
/// The default of [`slow_after`](RequestTrackerBuilder::slow_after).
pub const DEFAULT_SLOW_AFTER: Duration = Duration::from_secs(30);

/// Configures a [`RequestTracker`]. Made by [`RequestTracker::builder`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_ops_requests::RequestTracker;
///
/// # fn main() -> Result<(), tower_ops_requests::ConfigError> {
/// let tracker = RequestTracker::builder()
///     .max_history(5_000)
///     .slow_after(Duration::from_secs(5))
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RequestTrackerBuilder {
    max_history: usize,
    history: bool,
    max_routes: usize,
    slow_after: Option<Duration>,
    exempt: Vec<Kind>,
    extension: bool,
    peer: Option<fn(&Extensions) -> Option<SocketAddr>>,
    recorder: RecorderHandle,
}

impl RequestTrackerBuilder {
    pub(crate) fn new() -> Self {
        Self {
            max_history: DEFAULT_MAX_HISTORY,
            history: true,
            max_routes: DEFAULT_MAX_ROUTES,
            slow_after: Some(DEFAULT_SLOW_AFTER),
            exempt: vec![Kind::Stream],
            extension: false,
            peer: None,
            recorder: RecorderHandle::default(),
        }
    }

    /// Sets how many endings the history shows. 1,000 by default; between 1 and 1,000,000.
    ///
    /// Each takes about half a kilobyte. Up to 96 more are kept for each shard, as threads learn
    /// late of each other's endings. There are two to four shards per processor.
    #[must_use]
    pub const fn max_history(mut self, endings: usize) -> Self {
        self.max_history = endings;
        self
    }

    /// Turns the history off. The slowest and the failed are not kept either; statistics are.
    #[must_use]
    pub const fn without_history(mut self) -> Self {
        self.history = false;
        self
    }

    /// Sets how many routes and names of tasks have statistics of their own: the first so many. All
    /// others are counted as `{other}`. 256 by default; between 1 and 10,000.
    ///
    /// Each takes 28 kB at most for its quantiles, and half a kilobyte for each thread that serves
    /// it.
    #[must_use]
    pub const fn max_routes(mut self, routes: usize) -> Self {
        self.max_routes = routes;
        self
    }

    /// Sets the age at which [`watch`](RequestTracker::watch) reports a request that still runs. 30
    /// s by default, 250 ms at least; `None` turns reports off.
    #[must_use]
    pub fn slow_after(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.slow_after = age.into();
        self
    }

    /// Sets the kinds that [`wait_idle`](RequestTracker::wait_idle) does not wait for.
    ///
    /// Streams by default: they have no end of their own, so a shutdown that waits for them always
    /// takes its whole timeout. Use `exempt([])` if your handlers end their streams when a shutdown
    /// begins.
    #[must_use]
    pub fn exempt(mut self, kinds: impl IntoIterator<Item = Kind>) -> Self {
        self.exempt = kinds.into_iter().collect();
        self
    }

    /// Sets whether a [`RequestHandle`](crate::RequestHandle) is put into the extensions of every
    /// request, for services that run on another task than the one that polls the exchange. Off by
    /// default: it costs up to two allocations per request.
    #[must_use]
    pub const fn extension(mut self, enable: bool) -> Self {
        self.extension = enable;
        self
    }

    /// Sets how to find the peer's address in a request's extensions. It is used where no observer
    /// before this one has set the peer. Not set by default.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use tower_ops_requests::RequestTracker;
    /// # #[derive(Clone)] struct ConnectInfo<T>(T); // axum's
    ///
    /// let tracker = RequestTracker::builder()
    ///     .peer(|extensions| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0))
    ///     .build();
    /// # assert!(tracker.is_ok());
    /// ```
    #[must_use]
    pub const fn peer(mut self, find: fn(&Extensions) -> Option<SocketAddr>) -> Self {
        self.peer = Some(find);
        self
    }

    /// Sets the recorder that counts slow requests. The process's recorder by default.
    #[must_use]
    pub fn recorder(mut self, recorder: SharedRecorder) -> Self {
        self.recorder = RecorderHandle::new(Some(recorder));
        self
    }

    /// Returns the most bytes that the history and the statistics of such a tracker take on this
    /// machine, whatever clients send.
    ///
    /// Two things are not included. Requests in flight take half a kilobyte each. A record of the
    /// history may own more: the text of a route that nothing else holds, and notes, reasons and
    /// errors of 5 kB at most.
    #[must_use]
    pub fn memory_bound(&self) -> usize {
        let shards = shards::count();
        let statistics = self.max_routes * RouteTable::MOST_BYTES_BY_ROUTE
            + shards * (ShardStats::MOST_BYTES + self.max_routes * ShardStats::MOST_BYTES_BY_ROUTE);
        if !self.history {
            return statistics + shards * FreeList::MOST * Record::BYTES;
        }
        let records = HistoryClock::bound(self.max_history, shards)
            + shards * (Reservoir::MOST_RECORDS + FreeList::MOST);
        let rings = shards * (Ring::most_bytes(self.max_history) + Reservoir::MOST_BYTES);
        statistics + rings + records * Record::BYTES
    }

    /// Checks the configuration without building.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid; the error has every problem.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::check("the request tracker", self.problems())
    }

    /// Builds the tracker.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid; the error has every problem.
    pub fn build(self) -> Result<RequestTracker, ConfigError> {
        self.validate()?;
        Ok(self.into_tracker())
    }

    /// Must be valid.
    pub(crate) fn into_tracker(self) -> RequestTracker {
        let history = self.history.then_some(self.max_history);
        RequestTracker {
            inner: Arc::new(Inner {
                registry: Registry::new(history, self.max_routes, &self.exempt),
                slow_after: self.slow_after,
                extension: self.extension,
                peer: self.peer,
                recorder: self.recorder,
            }),
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.history && !(1..=MOST_HISTORY).contains(&self.max_history) {
            problems.push(format!(
                "max_history: {} is not between 1 and {MOST_HISTORY}; without_history() turns \
                 the history off",
                self.max_history
            ));
        }
        if !(1..=MOST_ROUTES).contains(&self.max_routes) {
            problems.push(format!(
                "max_routes: {} is not between 1 and {MOST_ROUTES}",
                self.max_routes
            ));
        }
        if self.slow_after.is_some_and(|age| age < LEAST_SLOW) {
            problems.push(format!(
                "slow_after: {:?} is less than {LEAST_SLOW:?}; None turns the reports off",
                self.slow_after.unwrap_or_default()
            ));
        }
        problems
    }
}

/// Half a gigabyte of records.
const MOST_HISTORY: usize = 1_000_000;
/// A third of a gigabyte of quantiles.
const MOST_ROUTES: usize = 10_000;
/// The shortest pause of the watchdog between two looks.
const LEAST_SLOW: Duration = Duration::from_millis(250);

impl fmt::Debug for RequestTrackerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestTrackerBuilder")
            .field("max_history", &self.max_history)
            .field("history", &self.history)
            .field("max_routes", &self.max_routes)
            .field("slow_after", &self.slow_after)
            .field("exempt", &self.exempt)
            .field("extension", &self.extension)
            .finish_non_exhaustive()
    }
}
