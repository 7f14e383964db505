use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::{Future, pending};
use std::io;
use std::pin::Pin;

use futures_util::future::join_all;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_ops_connections::{Listener, RequestBody};
use tower_ops_core::config::StartError;
use tower_ops_lifecycle::{Phase, ShutdownReport};
use tower_service::Service;

use self::activity_listener::ActivityListener;
use crate::ops::Ops;
use crate::readiness::NotReadyOnDrop;
use crate::restoring;

pub(crate) mod activity_listener;
#[cfg(all(feature = "axum", feature = "tonic"))]
pub(crate) mod axum_and_grpc;
mod own_server;

/// Serving.
impl Ops {
    /// Serves the application on `listener` (HTTP/1.1 and HTTP/2, with upgrades), and the
    /// operations endpoint on its own address, until the process is stopped by SIGTERM, SIGINT,
    /// `/prestop` or [`shutdown`](tower_ops_lifecycle::Lifecycle::shutdown).
    ///
    /// The service is ready when all start-up steps are done that the
    /// [lifecycle](crate::OpsBuilder::lifecycle) expects, or at once. When it is stopped:
    ///
    /// 1. For 5 s it is not ready and still serves, because load balancers need that time to stop
    ///    sending requests. HTTP/1 responses carry `Connection: close`.
    /// 2. The listener is closed. HTTP/2 clients get GOAWAY. Each
    ///    [token](tower_ops_lifecycle::Lifecycle::drain_token) of a stream is cancelled. What is in
    ///    flight has 15 s to end.
    /// 3. What is left is cut off. The report names it.
    /// 4. [Hooks](tower_ops_lifecycle::Lifecycle::on_stop) run, the last one registered first, for
    ///    at most 5 s in all. The operations endpoint closes last.
    ///
    /// A second signal ends the process at once.
    /// [`OpsBuilder::lifecycle`](crate::OpsBuilder::lifecycle) changes the times,
    /// [`OpsBuilder::connections`](crate::OpsBuilder::connections) the limits of connections.
    ///
    /// The application is an `axum::Router`, tonic's `Routes`, or any other tower service. For both
    /// on one port use `axum_and_grpc(app, routes)`, with the features `axum` and `tonic`. For
    /// several ports use [`servers`](Self::servers).
    ///
    /// # Errors
    ///
    /// If the operations endpoint cannot be started, or this `Ops` has stopped before. A `main`
    /// that returns the error in a `Box<dyn Error>` prints a sentence with the address. An error of
    /// one connection does not end the server.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the listener, aborts all connections and ends the
    /// operations endpoint.
    pub async fn serve<L, S, B>(&self, listener: L, app: S) -> Result<ShutdownReport, StartError>
    where
        L: Listener,
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        self.servers().listen(listener, app).run().await
    }

    /// Serves as [`serve`](Self::serve) does, and also stops the process when `shutdown`
    /// completes.
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve).
    ///
    /// # Cancel safety
    ///
    /// As [`serve`](Self::serve).
    pub async fn serve_until<L, S, B>(
        &self,
        listener: L,
        app: S,
        shutdown: impl Future<Output = ()>,
    ) -> Result<ShutdownReport, StartError>
    where
        L: Listener,
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let servers = self.servers().listen(listener, app);
        servers.run_until(shutdown).await
    }

    /// Begins to serve on several listeners in one life: HTTP and gRPC on ports of their own, a
    /// Unix socket.
    ///
    /// ```no_run
    /// # use tokio::net::TcpListener;
    /// # use tower_ops::connections::UnixSocket;
    /// # async fn run(ops: tower_ops::Ops, app: axum::Router, inside: axum::Router) -> std::io::Result<()> {
    /// let report = ops
    ///     .servers()
    ///     .listen_as("http", TcpListener::bind("0.0.0.0:3000").await?, app)
    ///     .listen_as("inside", UnixSocket::bind("/run/orders.sock")?, inside)
    ///     .run()
    ///     .await?;
    /// println!("{report}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn servers(&self) -> Servers {
        Servers::new(self.clone())
    }
}

/// Several listeners, served in one life. Made by [`Ops::servers`].
#[must_use = "nothing is served until run is called"]
pub struct Servers {
    ops: Ops,
    addresses: Vec<String>,
    serving: Vec<Serving>,
}

type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Servers {
    pub(crate) const fn new(ops: Ops) -> Self {
        Self {
            ops,
            addresses: Vec::new(),
            serving: Vec::new(),
        }
    }

    /// Adds a listener, TCP or on Unix also a Unix socket, and the application that is served on
    /// it: an `axum::Router`, tonic's `Routes`, or any other tower service.
    ///
    /// Connections count as those of the listener `default` in the metrics;
    /// [`listen_as`](Self::listen_as) gives another name.
    pub fn listen<L, S, B>(self, listener: L, app: S) -> Self
    where
        L: Listener,
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        self.listen_as("default", listener, app)
    }

    /// Adds a listener as [`listen`](Self::listen) does, with a name for it in metrics and in
    /// `/connections`.
    pub fn listen_as<L, S, B>(mut self, name: &str, listener: L, app: S) -> Self
    where
        L: Listener,
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let lifecycle = self.ops.lifecycle();
        let address = listener.address();
        let server = self.ops.server_named(name).drain_timeout(None);
        let app = lifecycle.connection_close().layer(app);
        let stop = lifecycle.drain_token();
        // Connections can come until the listener is closed: without the guard the drain
        // could be over before.
        let guard = lifecycle.drain_guard(format!("listener {address}"));
        let listener = ActivityListener::new(listener, lifecycle.activity());
        self.addresses.push(address);
        self.serving.push(Box::pin(async move {
            let _guard = guard;
            // The participant of the drain reports what was cut off, and sets the deadline.
            let _ = server.serve(listener, app, stop.cancelled_owned()).await;
        }));
        self
    }

    /// Serves until something [stops](tower_ops_lifecycle::Trigger) the process, and carries out
    /// the shutdown. The operations endpoint is open from the beginning to the very end.
    ///
    /// See [`Ops::serve`] for the parts of the shutdown.
    ///
    /// # Errors
    ///
    /// If the operations endpoint cannot be started, or this `Ops` has stopped before. An error of
    /// one connection does not end the server.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the listeners, aborts all connections and ends the
    /// operations endpoint.
    pub async fn run(self) -> Result<ShutdownReport, StartError> {
        self.run_until(pending()).await
    }

    /// Serves as [`run`](Self::run) does, and also stops the process when `shutdown` completes.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn run_until(
        self,
        shutdown: impl Future<Output = ()>,
    ) -> Result<ShutdownReport, StartError> {
        let Self {
            ops,
            addresses,
            serving,
        } = self;
        if ops.lifecycle().phase() == Phase::Stopped {
            let text = "this Ops has stopped, and cannot serve again: build another";
            return Err(StartError::new(io::ErrorKind::Other, text));
        }
        let endpoint = ops.start_admin()?;
        tracing::info!(
            name = ops.name(),
            app = addresses.join(", "),
            operations = endpoint.addr().to_string(),
            "serving"
        );
        let _ready = NotReadyOnDrop(ops.health());
        let lifecycle = ops.lifecycle();
        lifecycle.mark_serving();
        let start = async {
            if let Some(state) = ops.state()
                && state.file().is_some()
            {
                restoring::restore_file(state).await;
            }
            if !lifecycle.awaits_steps() {
                ops.mark_ready();
            }
            pending::<Infallible>().await
        };
        let stop = async {
            shutdown.await;
            lifecycle.shutdown();
            pending::<Infallible>().await
        };
        let serving = async {
            join_all(serving).await;
            pending::<Infallible>().await
        };
        // Servers that are left when the report is there do not yield, and are dropped.
        let report = tokio::select! {
            biased;
            report = lifecycle.run() => report,
            never = start => match never {},
            never = stop => match never {},
            never = serving => match never {},
        };
        endpoint.close().await;
        Ok(report)
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}
