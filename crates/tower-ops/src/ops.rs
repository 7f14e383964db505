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

/// What a service needs to be operated, in one handle. Cheap to clone.
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

/// What a builder has made.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) ops_addr: SocketAddr,
    /// Where the operations endpoint listens, once it does.
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
    /// Begins with a service's name and the defaults.
    #[must_use]
    pub fn builder(name: impl Into<String>) -> OpsBuilder {
        OpsBuilder::new(name.into())
    }

    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            inner: Arc::new(parts),
        }
    }

    /// The service's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The layer to put around the application: request ids, metrics and a span.
    ///
    /// All layers of one `Ops` share their state, so it can go onto several
    /// servers; put it around each request once.
    #[must_use]
    pub fn layer(&self) -> OpsLayer {
        if self.inner.tracker.is_some() {
            // From here on the drain knows what is in flight, whoever serves it.
            self.inner.lifecycle.track_servers();
        }
        self.inner.layer.clone()
    }

    /// Liveness, readiness, start-up and the checks.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.inner.health
    }

    /// The life of the process: start-up steps, shutdown hooks, the phase, and tokens for
    /// what has no end of its own.
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

    /// The state of the service, if it was given [one](OpsBuilder::state). Its
    /// [fence](State::fence) keeps writes out once it was handed over.
    #[must_use]
    pub fn state(&self) -> Option<&State> {
        self.inner.state.as_ref()
    }

    /// Says that the process wants requests: [`serve`](Self::serve) does, and with a server
    /// of your own you do. Start-up is over then. Does nothing once the process is told to
    /// stop.
    pub fn mark_ready(&self) {
        if self.inner.lifecycle.phase() <= Phase::Ready {
            // First: whoever takes it back at once must not be overtaken by what follows the phase.
            self.inner.health.mark_ready();
            self.inner.lifecycle.mark_ready();
        }
    }

    /// The Prometheus recorder, unless the application installed one that this
    /// `Ops` was not told of.
    #[must_use]
    pub fn prometheus(&self) -> Option<&Prometheus> {
        self.inner.prometheus.as_ref()
    }

    /// What is in flight and what ended, unless
    /// [`without_requests`](OpsBuilder::without_requests) was called.
    #[must_use]
    pub fn requests(&self) -> Option<&RequestTracker> {
        self.inner.tracker.as_ref()
    }

    /// The connections that [`serve`](Self::serve) has accepted, and those of
    /// `listener` and `incoming`, where a feature adds them: to look at, to close, to
    /// drain.
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
