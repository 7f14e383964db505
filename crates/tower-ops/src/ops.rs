use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tower_ops_admin::Admin;
use tower_ops_connections::Connections;
use tower_ops_core::sync::Mutex;
use tower_ops_health::Health;
use tower_ops_lifecycle::{Lifecycle, Phase};
use tower_ops_metrics::Prometheus;
use tower_ops_requests::RequestTracker;
use tower_ops_state::State;

use crate::builder::OpsBuilder;
use crate::layer::OpsLayer;
use crate::restoring::ForgetOnDrop;

/// What a service needs to be operated, in one handle. Cheap to clone: all clones are the same one.
///
/// # Examples
///
/// ```no_run
/// use axum::{Router, routing::get};
/// use tokio::net::TcpListener;
/// use tower_ops::Ops;
///
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let ops = Ops::builder("orders").build()?;
///     let app = Router::new()
///         .route("/", get(|| async { "hello" }))
///         .layer(ops.layer());
///     let report = ops.serve(TcpListener::bind("0.0.0.0:3000").await?, app).await?;
///     println!("{report}");
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Ops {
    pub(crate) inner: Arc<Parts>,
}

/// What the clones of an [`Ops`] share.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) ops_addr: SocketAddr,
    /// Where the operations endpoint listens, once it was started.
    pub(crate) listens: Mutex<Option<SocketAddr>>,
    pub(crate) layer: OpsLayer,
    pub(crate) health: Health,
    pub(crate) prometheus: Option<Prometheus>,
    pub(crate) connections: Connections,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) extended_connect: bool,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<tower_ops_connections::Tls>,
    pub(crate) tracker: Option<RequestTracker>,
    pub(crate) state: Option<State>,
    pub(crate) _process: ForgetOnDrop,
    pub(crate) admin: Admin,
}

impl Ops {
    /// Begins to configure a service with this name.
    #[must_use]
    pub fn builder(name: impl Into<String>) -> OpsBuilder {
        OpsBuilder::new(name.into())
    }

    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            inner: Arc::new(parts),
        }
    }

    /// Returns the service's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns the layer to put around the application: request ids, tracking, metrics and a span.
    ///
    /// All layers of one `Ops` share their state: use one for each server. A request must pass only
    /// one of them, or it is counted twice.
    #[must_use]
    pub fn layer(&self) -> OpsLayer {
        if self.inner.tracker.is_some() {
            // From here on the drain sees what is in flight on every server.
            self.inner.lifecycle.track_servers();
        }
        self.inner.layer.clone()
    }

    /// Returns liveness, readiness, start-up and the checks.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.inner.health
    }

    /// Returns the life of the process: its phase, start-up steps, shutdown hooks, and tokens for
    /// work that has no end of its own.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn migrate() -> std::io::Result<()> { Ok(()) }
    /// # async fn run(ops: tower_ops::Ops) -> Result<(), Box<dyn std::error::Error>> {
    /// ops.lifecycle().step("migrate", migrate()).await?;
    /// ops.lifecycle().on_stop("cache", async || println!("written"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.inner.lifecycle
    }

    /// Returns the state of the service, if one was [configured](OpsBuilder::state). Its
    /// [fence](State::fence) refuses writes once the state was handed over.
    #[must_use]
    pub fn state(&self) -> Option<&State> {
        self.inner.state.as_ref()
    }

    /// Marks the process as ready for requests, which ends its start-up. Does nothing once the
    /// shutdown has begun.
    ///
    /// [`serve`](Self::serve) calls it. With a server of your own, call it when that can take
    /// requests.
    pub fn mark_ready(&self) {
        if self.inner.lifecycle.phase() <= Phase::Ready {
            // Before the phase: what follows the phase must not overwrite a `mark_not_ready` that
            // comes at once.
            self.inner.health.mark_ready();
            self.inner.lifecycle.mark_ready();
        }
    }

    /// Returns the Prometheus recorder. `None` if the application installed another one that was
    /// not given to [`OpsBuilder::prometheus`].
    #[must_use]
    pub fn prometheus(&self) -> Option<&Prometheus> {
        self.inner.prometheus.as_ref()
    }

    /// Returns the requests in flight and those that ended. `None` after
    /// [`without_requests`](OpsBuilder::without_requests).
    #[must_use]
    pub fn requests(&self) -> Option<&RequestTracker> {
        self.inner.tracker.as_ref()
    }

    /// Returns the connections that [`serve`](Self::serve) has accepted, and those of `listener`
    /// (feature `axum`) and `incoming` (feature `tonic`): to list, to close, to drain.
    #[must_use]
    pub fn connections(&self) -> &Connections {
        &self.inner.connections
    }
}

impl fmt::Debug for Ops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ops")
            .field("name", &self.inner.name)
            .field("ops_addr", &self.inner.ops_addr)
            .field("health", &self.inner.health)
            .finish_non_exhaustive()
    }
}
