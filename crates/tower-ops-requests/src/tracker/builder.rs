use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use metrics::Recorder;
use tower_ops_core::config::ConfigError;

use crate::history::{Pace, Ring, Spare};
use crate::outcome::Kind;
use crate::record::Record;
use crate::registry::Registry;
use crate::reservoir::Reservoir;
use crate::routes::RouteTable;
use crate::shard_stats::ShardStats;
use crate::shards;
use crate::tracker::{Inner, RequestTracker};

/// How many endings the history keeps unless told otherwise.
pub const DEFAULT_MAX_HISTORY: usize = 1_000;
/// How many routes statistics tell apart unless told otherwise.
pub const DEFAULT_MAX_ROUTES: usize = 256;
/// From which age on a request is reported as slow unless told otherwise.
pub const DEFAULT_SLOW_AFTER: Duration = Duration::from_secs(30);

/// Configures a [`RequestTracker`]. Made by [`RequestTracker::builder`].
#[derive(Clone)]
pub struct RequestTrackerBuilder {
    max_history: usize,
    history: bool,
    max_routes: usize,
    slow_after: Option<Duration>,
    exempt: Vec<Kind>,
    extension: bool,
    peer: Option<fn(&Extensions) -> Option<SocketAddr>>,
    recorder: Option<Arc<dyn Recorder + Send + Sync>>,
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
            recorder: None,
        }
    }

    /// How many endings the history shows: always the last so many. 1,000 by
    /// default.
    ///
    /// Each is about half a kilobyte. Threads learn late of what others have, so
    /// that up to 96 more are kept for each of the shards, of which there are two
    /// to four for each processor.
    #[must_use]
    pub const fn max_history(mut self, endings: usize) -> Self {
        self.max_history = endings;
        self
    }

    /// Whether there is a history at all. There is by default. Without it the
    /// slowest and the failed are not kept either; statistics are.
    #[must_use]
    pub const fn enable_history(mut self, enable: bool) -> Self {
        self.history = enable;
        self
    }

    /// How many routes, and names of tasks, statistics tell apart: the first so
    /// many, and `{other}` for the rest. 256 by default.
    ///
    /// Each costs 28 kB at most for its quantiles, and half a kilobyte for each
    /// thread that serves it.
    #[must_use]
    pub const fn max_routes(mut self, routes: usize) -> Self {
        self.max_routes = routes;
        self
    }

    /// From which age on [`watch`](RequestTracker::watch) reports a request that
    /// still runs. 30 s by default; `None` for never.
    #[must_use]
    pub fn slow_after(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.slow_after = age.into();
        self
    }

    /// Which kinds [`wait_idle`](RequestTracker::wait_idle) does not wait for.
    ///
    /// Streams by default: they have no end of their own, and a shutdown that
    /// waited for them would always take as long as it may. Wait for them, with
    /// `exempt([])`, if your handlers end their streams when a shutdown begins.
    #[must_use]
    pub fn exempt(mut self, kinds: impl IntoIterator<Item = Kind>) -> Self {
        self.exempt = kinds.into_iter().collect();
        self
    }

    /// Puts a [`RequestHandle`](crate::RequestHandle) into every request's
    /// extensions as well, for services that run on another task than the one
    /// that polls the exchange. Off by default: it costs up to two allocations.
    #[must_use]
    pub const fn with_extension(mut self) -> Self {
        self.extension = true;
        self
    }

    /// Where the peer's address stands in a request's extensions, if nothing
    /// that observes the exchange has told it.
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

    /// Counts slow requests in this recorder, and not in the process's one.
    #[must_use]
    pub fn recorder(mut self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// The most bytes that a tracker with this configuration holds on this machine,
    /// whatever it is sent: its history, reservoirs and statistics.
    ///
    /// Not in it: what is in flight, half a kilobyte each; and what the records of
    /// the history hold besides, if they hold it: the text of a route that nothing
    /// else holds, and notes, reasons and errors, 5 kB at most.
    #[must_use]
    pub fn memory_bound(&self) -> usize {
        let shards = shards::count();
        let statistics = self.max_routes * RouteTable::MOST_BYTES_BY_ROUTE
            + shards * (ShardStats::MOST_BYTES + self.max_routes * ShardStats::MOST_BYTES_BY_ROUTE);
        if !self.history {
            return statistics + shards * Spare::MOST * Record::BYTES;
        }
        let records = Pace::bound(self.max_history, shards)
            + shards * (Reservoir::MOST_RECORDS + Spare::MOST);
        let rings = shards * (Ring::most_bytes(self.max_history) + Reservoir::MOST_BYTES);
        statistics + rings + records * Record::BYTES
    }

    /// Whether this can be built.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid; the error lists every problem.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::check("the request tracker", self.problems())
    }

    /// Builds the tracker.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid; the error lists every problem.
    pub fn build(self) -> Result<RequestTracker, ConfigError> {
        self.check()?;
        Ok(self.into_tracker())
    }

    /// Must be valid.
    pub(crate) fn into_tracker(self) -> RequestTracker {
        let history = self.history.then_some(self.max_history);
        RequestTracker::from_inner(Inner {
            registry: Registry::new(history, self.max_routes, &self.exempt),
            slow_after: self.slow_after,
            extension: self.extension,
            peer: self.peer,
            recorder: self.recorder,
        })
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.history && !(1..=MOST_HISTORY).contains(&self.max_history) {
            problems.push(format!(
                "max_history: {} is not between 1 and {MOST_HISTORY}; enable_history(false) turns \
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
/// The shortest time between two looks of the watchdog: it could not tell less.
const LEAST_SLOW: Duration = Duration::from_millis(250);

impl fmt::Debug for RequestTrackerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestTrackerBuilder")
            .field("max_history", &self.max_history)
            .field("enable_history", &self.history)
            .field("max_routes", &self.max_routes)
            .field("slow_after", &self.slow_after)
            .field("exempt", &self.exempt)
            .field("with_extension", &self.extension)
            .finish_non_exhaustive()
    }
}
