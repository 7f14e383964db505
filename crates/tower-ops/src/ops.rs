use std::fmt;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(feature = "axum")]
use axum::serve::{Listener as AxumListener, ListenerExt as _, TapIo};
#[cfg(feature = "tonic")]
use futures_util::Stream;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tower_ops_admin::{Admin, AdminServer};
#[cfg(feature = "tonic")]
use tower_ops_connections::ConnectionLayer;
#[cfg(feature = "tonic")]
use tower_ops_connections::Listener;
#[cfg(any(feature = "axum", feature = "tonic"))]
use tower_ops_connections::Tracked;
use tower_ops_connections::{Connections, Server};
#[cfg(feature = "axum")]
use tower_ops_connections::{MakeAxumService, Peer, TrackedListener};
use tower_ops_core::config::StartError;
use tower_ops_health::Health;
use tower_ops_lifecycle::{Lifecycle, Phase};
use tower_ops_metrics::Prometheus;
use tower_ops_requests::RequestTracker;
use tower_ops_state::State;

#[cfg(any(feature = "axum", feature = "tonic"))]
use crate::activity_listener::ActivityListener;
use crate::builder::OpsBuilder;
use crate::layer::OpsLayer;
use crate::probes;
use crate::restoring::ForgetOnDrop;
use crate::setup_warnings;

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
    inner: Arc<Parts>,
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

    /// The accept loop of [`serve`](Self::serve) alone, without the operations
    /// endpoint and the lifecycle: for settings of hyper's.
    #[must_use]
    pub fn server(&self) -> Server {
        self.server_named("default")
    }

    pub(crate) fn server_named(&self, listener: &str) -> Server {
        let server = self.inner.connections.named(listener).server();
        let server = server.extended_connect(self.inner.extended_connect);
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.inner.tls {
            return server.tls(tls.clone());
        }
        server
    }

    /// A listener for those who keep `axum::serve`, with its connections tracked and
    /// bounded. Serve a [`make_service`](Self::make_service) on it.
    ///
    /// ```no_run
    /// # async fn run(ops: tower_ops::Ops, app: axum::Router) -> std::io::Result<()> {
    /// let listener = tokio::net::TcpListener::bind("0.0.0.0:3000").await?;
    /// axum::serve(ops.listener(listener), ops.make_service(app)).await
    /// # }
    /// ```
    #[cfg(feature = "axum")]
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn listener<L>(
        &self,
        listener: L,
    ) -> TapIo<
        ActivityListener<TapIo<TrackedListener<L>, fn(&mut Tracked<L::Io>)>>,
        fn(&mut Tracked<L::Io>),
    >
    where
        L: AxumListener,
        for<'a> Peer: From<&'a L::Addr>,
    {
        self.inner.lifecycle.track_servers();
        // Errors of accepting are counted where the tracked listener has the socket itself.
        let listener = self.inner.connections.listener(listener);
        // Tapped, since axum takes the address for `ConnectInfo` from such a listener.
        ActivityListener::new(listener, self.inner.lifecycle.activity()).tap_io(|_| {})
    }

    /// Has each connection of a [`listener`](Self::listener) know its requests.
    #[cfg(feature = "axum")]
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    #[must_use]
    pub fn make_service<M>(&self, inner: M) -> MakeAxumService<M> {
        self.inner.connections.make_service(inner)
    }

    /// Incoming connections for those who keep tonic's `serve_with_incoming`. Add
    /// [`connection_layer`](Self::connection_layer) to the server, before all other
    /// layers.
    #[cfg(feature = "tonic")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
    pub fn incoming<L: Listener>(
        &self,
        listener: L,
    ) -> impl Stream<Item = io::Result<Tracked<L::Io>>> + Send + use<L> {
        self.inner.lifecycle.track_servers();
        let listener = ActivityListener::new(listener, self.inner.lifecycle.activity());
        self.inner.connections.incoming(listener)
    }

    /// Has each connection of [`incoming`](Self::incoming) know its requests.
    #[cfg(feature = "tonic")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
    #[must_use]
    pub fn connection_layer(&self) -> ConnectionLayer {
        self.inner.connections.layer()
    }

    /// The operations endpoint as a tower service, with an index at `/`: `/metrics`,
    /// `/connections`, `/requests`, the probes, `/prestop`, and what was
    /// [mounted](OpsBuilder::operations). For the application's own port:
    /// `ops.operations().layer("/ops")` around everything, or nested in a router.
    ///
    /// [`serve`](Self::serve) and [`start_operations`](Self::start_operations) put it on
    /// its own port. Where neither does, spawn [`run`](Self::run) as well.
    #[must_use]
    pub fn operations(&self) -> Admin {
        self.inner.admin.clone()
    }

    /// Where the operations endpoint listens, with the port that was taken if it was given as 0;
    /// `None` before it was started. It stays when the endpoint has ended.
    #[must_use]
    pub fn operations_addr(&self) -> Option<SocketAddr> {
        let listens = self.inner.listens.lock();
        *listens.unwrap_or_else(PoisonError::into_inner)
    }

    /// What the operations endpoint tells of has to run somewhere: the health checks and the
    /// lifecycle with its signals. [`start_operations`](Self::start_operations) does both, and
    /// watches the runtime from outside; this is for where the endpoint is on the application's
    /// own port. Spawn it; it ends with the process.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends the health checks. A shutdown that has begun goes on.
    pub fn run(&self) -> impl Future<Output = ()> + Send + use<> {
        let health = self.inner.health.run();
        let beside = self.beside();
        let lifecycle = self.inner.lifecycle.clone();
        async move {
            let stopped = lifecycle.run();
            let beside = async { tokio::join!(health, beside) };
            tokio::select! {
                _ = stopped => {}
                _ = beside => {}
            }
        }
    }

    /// What tells of the process from beside it, best on another thread.
    fn beside(&self) -> impl Future<Output = ()> + Send + use<> {
        let tracker = self.inner.tracker.as_ref().map(RequestTracker::watch);
        let phase = probes::follow(self.inner.lifecycle.clone(), self.inner.health.clone());
        async move {
            tokio::join!(phase, async move {
                if let Some(tracker) = tracker {
                    tracker.await;
                }
            });
        }
    }

    /// Starts the operations endpoint on its address, for those who serve the
    /// application themselves (`axum::serve`, tonic, hyper).
    ///
    /// It runs on a thread and a runtime of its own, so that a stuck application
    /// cannot make probes lie, until the returned handle is dropped. The service
    /// is live but not ready: call [`mark_ready`](Self::mark_ready) when it can take
    /// requests.
    ///
    /// On the runtime that this is called on run the health checks, and the
    /// [lifecycle](Self::lifecycle): from here on SIGTERM and SIGINT begin the shutdown and
    /// do not end the process. Give [`signal_to_stop`](Lifecycle::signal_to_stop) to the server,
    /// run it [`with_deadline`](Lifecycle::with_deadline), and await [`run`](Lifecycle::run) before
    /// `main` returns. Without the deadline the drain ends when the [layer](Self::layer) has seen no
    /// request for half a second.
    ///
    /// ```no_run
    /// # async fn example(ops: tower_ops::Ops, app: axum::Router) -> std::io::Result<()> {
    /// let listener = tokio::net::TcpListener::bind("0.0.0.0:3000").await?;
    /// let _operations = ops.start_operations()?;
    /// ops.mark_ready();
    /// let life = ops.lifecycle();
    /// let serve = axum::serve(listener, app).with_graceful_shutdown(life.signal_to_stop());
    /// if let Ok(served) = life.with_deadline(serve).await {
    ///     served?;
    /// }
    /// life.shutdown(); // where the server ended by itself
    /// println!("{}", life.run().await);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// With the connections of `listener` or `incoming`, give
    /// [`connections().drained()`](Connections::drained) to the server instead: the server's own
    /// shutdown ends a connection between two requests at once, and the drain first has it hear
    /// `Connection: close`.
    ///
    /// # Errors
    ///
    /// If the address is taken, the thread cannot be started, or this is called
    /// outside of a tokio runtime. A `main` that returns the error in a `Box<dyn Error>` prints a
    /// sentence with the address.
    pub fn start_operations(&self) -> Result<AdminServer, StartError> {
        let server = self.start_admin()?;
        tracing::info!(
            name = self.name(),
            operations = server.addr().to_string(),
            "the operations endpoint listens"
        );
        Ok(server)
    }

    pub(crate) fn start_admin(&self) -> Result<AdminServer, StartError> {
        let application = Handle::try_current().map_err(|_| {
            StartError::new(
                io::ErrorKind::Other,
                "start_operations was called outside of a tokio runtime, and health checks need \
                 the application's",
            )
        })?;
        let health = self.inner.health.run();
        let layer = setup_warnings::watch_layer(self.inner.connections.clone());
        let readiness = setup_warnings::watch_readiness(self.inner.lifecycle.clone());
        // A set of one: its task is aborted when it is dropped.
        let mut checks = JoinSet::new();
        let run_checks = async move {
            tokio::join!(health, layer, readiness);
        };
        checks.spawn_on(run_checks, &application);
        let watched = self.inner.health.watch();
        let beside = self.beside();
        let beside = async move {
            // Dropped with this when the server ends, and if it cannot be started.
            let _checks = checks;
            tokio::join!(watched, beside, pending::<()>());
        };
        let server = self.inner.admin.start_with(self.inner.ops_addr, beside);
        let server = server.map_err(|error| error.with_hint("ops_addr sets it"))?;
        let listens = self.inner.listens.lock();
        *listens.unwrap_or_else(PoisonError::into_inner) = Some(server.addr());
        // Carried out by a task of its own: what is returned only waits for it.
        drop(self.inner.lifecycle.run());
        Ok(server)
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
