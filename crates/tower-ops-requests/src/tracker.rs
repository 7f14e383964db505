use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use tower_ops_core::recorder::RecorderHandle;
use tower_ops_observe::ObserveLayer;

use self::builder::RequestTrackerBuilder;
use self::observer::RequestTrackerLayer;
use crate::record::Record;
use crate::record::snapshot::RequestSnapshot;
use crate::registry::Registry;

pub(crate) mod builder;
pub(crate) mod current;
pub(crate) mod observer;
mod watchdog;

/// A handle to everything in flight, and to a bounded history of what ended.
///
/// Cheap to clone. [`layer`](Self::layer) makes a layer of its own. The handle itself is an
/// observer as well, to go into a tuple with others: after those that set the request id, the trace
/// and the peer, which it copies when a request begins.
///
/// An exchange takes one lock of its thread's own when it begins and one when it ends. It allocates
/// only until the history is full: then records are used again.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{Service, ServiceBuilder, ServiceExt};
/// use tower_ops_requests::RequestTracker;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), std::convert::Infallible> {
/// let tracker = RequestTracker::new();
/// let mut service = ServiceBuilder::new()
///     .layer(tracker.layer())
///     .service_fn(async |_: Request<()>| {
///         Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from("hi")))
///     });
///
/// let response = service.ready().await?.call(Request::new(())).await?;
/// assert_eq!(tracker.in_flight()[0].path.as_deref(), Some("/"));
/// drop(response); // the client goes away
/// assert!(tracker.in_flight().is_empty());
/// assert_eq!(tracker.history()[0].outcome.unwrap().as_str(), "cancelled_during_body");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RequestTracker {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) registry: Registry,
    slow_after: Option<Duration>,
    extension: bool,
    peer: Option<fn(&Extensions) -> Option<SocketAddr>>,
    recorder: RecorderHandle,
}

impl RequestTracker {
    /// Makes a tracker with the defaults of its [builder](RequestTrackerBuilder).
    #[must_use]
    pub fn new() -> Self {
        Self::builder().into_tracker()
    }

    /// Begins to configure a tracker.
    #[must_use]
    pub fn builder() -> RequestTrackerBuilder {
        RequestTrackerBuilder::new()
    }

    /// Makes a layer that tracks every request that passes. Put it outermost.
    #[must_use]
    pub fn layer(&self) -> RequestTrackerLayer {
        RequestTrackerLayer::new(ObserveLayer::new(self.clone()))
    }

    /// Returns everything in flight, the oldest first.
    ///
    /// Takes one shard's lock at a time and releases it after every few hundred entries, so
    /// requests go on meanwhile. What is in flight from the beginning to the end of the call is
    /// listed once.
    #[must_use]
    pub fn in_flight(&self) -> Vec<RequestSnapshot> {
        self.running(&self.inner.registry.in_flight())
    }

    /// Returns how many are in flight.
    #[must_use]
    pub fn in_flight_count(&self) -> usize {
        self.inner.registry.in_flight_count()
    }

    /// Returns the last endings, the latest first: at most
    /// [`max_history`](RequestTrackerBuilder::max_history).
    #[must_use]
    pub fn history(&self) -> Vec<RequestSnapshot> {
        self.snapshots(&self.inner.registry.history())
    }

    /// Returns the slowest requests of the last five to ten minutes, the slowest first: at most 16.
    /// Streams and tasks are not among them.
    #[must_use]
    pub fn slowest(&self) -> Vec<RequestSnapshot> {
        self.snapshots(&self.inner.registry.slowest())
    }

    /// Returns what failed or timed out in the last ten minutes, the latest first: at most 64.
    /// Clients' own errors and cancellations are not among them.
    #[must_use]
    pub fn failed(&self) -> Vec<RequestSnapshot> {
        self.snapshots(&self.inner.registry.failed())
    }

    pub(crate) fn snapshots(&self, records: &[Arc<Record>]) -> Vec<RequestSnapshot> {
        let now = self.inner.registry.now();
        let snapshots = records
            .iter()
            .map(|record| RequestSnapshot::new(record, now));
        snapshots.collect()
    }

    /// Without what ended since it was picked.
    pub(crate) fn running(&self, records: &[Arc<Record>]) -> Vec<RequestSnapshot> {
        let mut snapshots = self.snapshots(records);
        snapshots.retain(|snapshot| snapshot.outcome.is_none());
        snapshots
    }
}

impl Default for RequestTracker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RequestTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestTracker")
            .field("in_flight", &self.in_flight_count())
            .finish_non_exhaustive()
    }
}
