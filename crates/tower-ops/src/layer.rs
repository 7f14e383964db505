use std::fmt;
use std::time::Duration;

use tower_layer::{Identity, Layer, Stack};
use tower_ops_observe::{CatchPanicLayer, Observe, ObserveLayer, ObserveService};

use self::observers::Observers;
use self::timeout::TimeoutLayer;

pub(crate) mod client_addr;
pub(crate) mod connection_facts;
pub(crate) mod observers;
pub(crate) mod timeout;
pub(crate) mod trusted_proxies;

/// The layer of the bundle. Made by [`Ops::layer`](crate::Ops::layer).
///
/// Use it in `axum::Router::layer`, around a `Router`, in `tonic::transport::Server::layer` or in a
/// `ServiceBuilder`. Put it outermost.
///
/// It [ends](ObserveLayer::with_grpc_timeout) a gRPC call at its deadline, `grpc-timeout`, also in
/// the middle of a stream.
///
/// # Examples
///
/// With a timeout, and an answer for a handler that panics:
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
pub struct OpsLayer<L = Identity, O: Observe = ()> {
    observe: ObserveLayer<Observers<O>>,
    inner: L,
}

/// The type that [`OpsLayer::with_timeout`] adds, to name the layer: `OpsLayer<WithTimeout>`.
pub type WithTimeout<L = Identity> = Stack<L, TimeoutLayer>;

/// The type that [`OpsLayer::with_catch_panic`] adds, to name the layer:
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
    pub(crate) fn new(observe: ObserveLayer<Observers>) -> Self {
        Self {
            observe: observe.with_grpc_timeout(),
            inner: Identity::new(),
        }
    }
}

impl<L, O: Observe> OpsLayer<L, O> {
    /// Adds an observer of your own, after those of the bundle: it finds the request id, the peer
    /// and the connection in [`Facts`](tower_ops_observe::Facts). It costs no wrapper of its own.
    ///
    /// Can be called more than once. Put an observer that cannot be cloned into an `Arc`.
    ///
    /// # Examples
    ///
    /// ```
    /// use http::Request;
    /// use tower_ops::Ops;
    /// use tower_ops::observe::{Ending, Facts, Observe};
    ///
    /// #[derive(Clone)]
    /// struct SlowLog;
    ///
    /// impl Observe for SlowLog {
    ///     type Exchange = ();
    ///     fn on_request<B>(&self, _: &mut Request<B>, _: &mut Facts) {}
    ///     fn on_end(&self, _: &mut (), ending: &Ending<'_>, facts: &Facts) {
    ///         if ending.duration().as_secs() > 1 {
    ///             eprintln!("{:?} from {:?} was slow", facts.request_id(), facts.peer());
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ops = Ops::builder("orders").private_recorder().build()?;
    /// let app: axum::Router = axum::Router::new()
    ///     .route("/", axum::routing::get(|| async { "hello" }))
    ///     .layer(ops.layer().with_observer(SlowLog));
    /// # let _ = app;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_observer<P>(self, observer: P) -> OpsLayer<L, (O, P)>
    where
        O: Clone,
        P: Observe,
    {
        let observe = self.observe.map_observer(|all| all.with(observer));
        OpsLayer {
            observe,
            inner: self.inner,
        }
    }

    /// Answers `504 Gateway Timeout`, or `DEADLINE_EXCEEDED` to a gRPC call, if there is no
    /// response head after `limit`. The body may take longer.
    ///
    /// The handler's future is dropped then. The timeout is inside of the observers, so its answer
    /// is counted and carries the request id. No timeout by default; [`Duration::MAX`] is none.
    #[must_use]
    pub fn with_timeout(self, limit: Duration) -> OpsLayer<WithTimeout<L>, O> {
        OpsLayer {
            observe: self.observe,
            inner: Stack::new(self.inner, TimeoutLayer::new(limit)),
        }
    }

    /// Answers `500 Internal Server Error`, or `INTERNAL` to a gRPC call, when the handler panics.
    /// Otherwise a panic closes the connection. A panic in the body still does, since the head is
    /// sent by then. Off by default.
    ///
    /// It is inside of the observers. A caught panic counts as panicked.
    #[must_use]
    pub fn with_catch_panic(self) -> OpsLayer<WithCatchPanic<L>, O> {
        OpsLayer {
            observe: self.observe,
            inner: Stack::new(self.inner, CatchPanicLayer::new()),
        }
    }
}

impl<S, L: Layer<S>, O: Observe> Layer<S> for OpsLayer<L, O> {
    type Service = ObserveService<L::Service, Observers<O>>;

    fn layer(&self, service: S) -> Self::Service {
        self.observe.layer(self.inner.layer(service))
    }
}

impl<L: Clone, O: Observe> Clone for OpsLayer<L, O> {
    fn clone(&self) -> Self {
        Self {
            observe: self.observe.clone(),
            inner: self.inner.clone(),
        }
    }
}

impl<L, O: Observe> fmt::Debug for OpsLayer<L, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpsLayer").finish_non_exhaustive()
    }
}
