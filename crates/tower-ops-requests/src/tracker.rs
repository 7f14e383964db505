use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use metrics::Recorder;
use tower_ops_observe::ObserveLayer;

use crate::builder::RequestTrackerBuilder;
use crate::observer::RequestTrackerLayer;
use crate::record::Record;
use crate::registry::Registry;
use crate::snapshot::RequestSnapshot;

/// A handle to everything in flight, and to a bounded history of what ended.
///
/// Cheap to clone. [`layer`](Self::layer) makes a layer of its own; the handle
/// itself is an observer, to go into a tuple with others: after those that tell
/// the request id, the trace and the peer, which it copies when a request begins.
///
/// An exchange costs one allocation, one lock of its thread's own when it begins
/// and one when it ends.
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
    pub(crate) slow_after: Option<Duration>,
    pub(crate) extension: bool,
    pub(crate) peer: Option<fn(&Extensions) -> Option<SocketAddr>>,
    pub(crate) recorder: Option<Arc<dyn Recorder + Send + Sync>>,
}

impl RequestTracker {
    /// A tracker with the defaults of its [builder](RequestTrackerBuilder).
    #[must_use]
    pub fn new() -> Self {
        Self::builder().into_tracker()
    }

    /// A tracker of your choice.
    #[must_use]
    pub fn builder() -> RequestTrackerBuilder {
        RequestTrackerBuilder::new()
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

    pub(crate) fn from_inner(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// A layer that tracks every request that passes. Put it outermost.
    #[must_use]
    pub fn layer(&self) -> RequestTrackerLayer {
        RequestTrackerLayer::new(ObserveLayer::new(self.clone()))
    }

    /// Everything in flight, the oldest first.
    ///
    /// Takes one shard's lock at a time and lets go of it every few hundred
    /// entries: requests go on meanwhile. What is in flight from the beginning to
    /// the end of the call is listed once.
    #[must_use]
    pub fn in_flight(&self) -> Vec<RequestSnapshot> {
        self.running(&self.inner.registry.live())
    }

    /// How many are in flight.
    #[must_use]
    pub fn in_flight_count(&self) -> usize {
        self.inner.registry.in_flight()
    }

    /// The last endings, the latest first.
    #[must_use]
    pub fn history(&self) -> Vec<RequestSnapshot> {
        self.snapshots(&self.inner.registry.history())
    }

    /// The slowest requests of the last five to ten minutes, the slowest first:
    /// at most 16, streams and tasks left out.
    #[must_use]
    pub fn slowest(&self) -> Vec<RequestSnapshot> {
        self.snapshots(&self.inner.registry.slowest())
    }

    /// What failed or timed out in the last ten minutes, the latest first: at
    /// most 64. A client's own errors and cancellations are left out.
    #[must_use]
    pub fn failed(&self) -> Vec<RequestSnapshot> {
        self.snapshots(&self.inner.registry.failed())
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
