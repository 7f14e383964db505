use std::fmt;
use std::time::Duration;

use tower_layer::{Identity, Layer, Stack};
use tower_ops_metrics::Metrics;
use tower_ops_observe::{CatchPanicLayer, ObserveLayer, ObserveService};
use tower_ops_request_id::RequestIds;
use tower_ops_requests::RequestTracker;
use tower_ops_trace::Spans;

use crate::connection_facts::ConnectionFacts;
use crate::grpc_timeout::GrpcTimeout;
use crate::timeout::TimeoutLayer;

/// The connection, request ids, tracking, metrics and a span: the observers of the
/// bundle, in one pass.
pub type Observers = (
    ConnectionFacts,
    RequestIds,
    Option<RequestTracker>,
    Metrics,
    Option<Spans>,
);

/// The layer of the bundle. Made by [`Ops::layer`](crate::Ops::layer).
///
/// Goes into `axum::Router::layer`, around a `Router`, into
/// `tonic::transport::Server::layer`, and into a `ServiceBuilder`. Put it
/// outermost.
///
/// A gRPC call with a deadline, `grpc-timeout`, is [ended](GrpcTimeout) there, be it in the middle
/// of a stream.
///
/// # Examples
///
/// With a time limit, and an answer for a handler that panics:
///
/// ```
/// use std::time::Duration;
/// use axum::{Router, routing::get};
/// use tower_ops::Ops;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ops = Ops::builder("orders").build()?;
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .layer(ops.layer().with_timeout(Duration::from_secs(30)).with_catch_panic());
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct OpsLayer<L = Identity> {
    observe: ObserveLayer<Observers>,
    inner: L,
}

/// What [`OpsLayer::with_timeout`] puts inside, so that the layer can be named:
/// `OpsLayer<WithTimeout>`.
pub type WithTimeout<L = Identity> = Stack<L, TimeoutLayer>;

/// What [`OpsLayer::with_catch_panic`] puts inside, so that the layer can be named:
/// `OpsLayer<WithCatchPanic<WithTimeout>>` has both.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_ops::{Ops, OpsLayer, WithCatchPanic, WithTimeout};
///
/// struct App {
///     layer: OpsLayer<WithCatchPanic<WithTimeout>>,
/// }
///
/// let ops = Ops::builder("orders").private_recorder().build()?;
/// let layer = ops.layer().with_timeout(Duration::from_secs(30)).with_catch_panic();
/// let app = App { layer };
/// # drop(app.layer);
/// # Ok::<_, tower_ops::ConfigError>(())
/// ```
pub type WithCatchPanic<L = Identity> = Stack<L, CatchPanicLayer>;

impl OpsLayer {
    pub(crate) const fn new(observe: ObserveLayer<Observers>) -> Self {
        Self {
            observe,
            inner: Identity::new(),
        }
    }
}

impl<L> OpsLayer<L> {
    /// Answers `504 Gateway Timeout`, or `DEADLINE_EXCEEDED` to a gRPC call, if there is no
    /// response head after `limit`. The body may take longer.
    ///
    /// The handler's future is dropped then. It is inside of the observers: its answer is counted
    /// and carries the request id. A limit that no clock can hold is none.
    #[must_use]
    pub fn with_timeout(self, limit: Duration) -> OpsLayer<WithTimeout<L>> {
        OpsLayer {
            observe: self.observe,
            inner: Stack::new(self.inner, TimeoutLayer::new(limit)),
        }
    }

    /// Answers `500 Internal Server Error`, or `INTERNAL` to a gRPC call, when the handler
    /// panics, where the client would see its connection closed otherwise. A panic in the body
    /// still closes it: the head is out by then.
    ///
    /// It is inside of the observers. A caught panic counts as panicked.
    #[must_use]
    pub fn with_catch_panic(self) -> OpsLayer<WithCatchPanic<L>> {
        OpsLayer {
            observe: self.observe,
            inner: Stack::new(self.inner, CatchPanicLayer::new()),
        }
    }
}

impl<S, L: Layer<S>> Layer<S> for OpsLayer<L> {
    type Service = ObserveService<GrpcTimeout<L::Service>, Observers>;

    fn layer(&self, service: S) -> Self::Service {
        let service = self.inner.layer(service);
        self.observe.layer(GrpcTimeout::new(service))
    }
}

impl<L> fmt::Debug for OpsLayer<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpsLayer").finish_non_exhaustive()
    }
}
