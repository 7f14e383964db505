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
use tower_ops_health::Health;
use tower_ops_lifecycle::{Phase, ShutdownReport};
use tower_service::Service;

use crate::activity_listener::ActivityListener;
use crate::drain::UNTIL_TOLD;
use crate::ops::Ops;
use crate::restoring;

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

    /// Adds a listener, and what is served on it: an `axum::Router`, tonic's `Routes`, or any
    /// other tower service. TCP or, on Unix, a Unix socket.
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

    /// As [`listen`](Self::listen), with a name for the listener in metrics and in
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
        let server = self.ops.server_named(name).drain_timeout(UNTIL_TOLD);
        let app = lifecycle.connection_close().layer(app);
        let stop = lifecycle.drain_token();
        // Connections can come until the listener is closed: without the guard the drain
        // could be over before.
        let guard = lifecycle.drain_guard(format!("listener {address}"));
        let listener = ActivityListener::new(listener, lifecycle.activity());
        self.addresses.push(address);
        self.serving.push(Box::pin(async move {
            let _guard = guard;
            // The participant of the drain tells what was cut off.
            let _ = server.serve(listener, app, stop.cancelled_owned()).await;
        }));
        self
    }

    /// Serves until the process is [told to stop](tower_ops_lifecycle::Trigger), and carries
    /// the shutdown out. The operations endpoint is open from the beginning to the very end.
    ///
    /// See [`Ops::serve`] for what happens when.
    ///
    /// # Errors
    ///
    /// If the operations endpoint cannot be started, or the life of this `Ops` is over: a process
    /// stops once. What goes wrong on a single connection does not end the server.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the listeners, aborts all connections and ends the
    /// operations endpoint.
    pub async fn run(self) -> Result<ShutdownReport, StartError> {
        self.run_until(pending()).await
    }

    /// As [`run`](Self::run), and `shutdown` is one more thing that tells the process to stop.
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
            let text = "this Ops has stopped, and its life is not begun again: build another";
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
        let told = async {
            shutdown.await;
            lifecycle.shutdown();
            pending::<Infallible>().await
        };
        let serving = async {
            join_all(serving).await;
            pending::<Infallible>().await
        };
        // What is left of the servers then does not yield, and is left behind.
        let report = tokio::select! {
            biased;
            report = lifecycle.run() => report,
            never = start => match never {},
            never = told => match never {},
            never = serving => match never {},
        };
        endpoint.close().await;
        Ok(report)
    }
}

/// Also a server that is dropped is not ready any more.
struct NotReadyOnDrop<'a>(&'a Health);

impl Drop for NotReadyOnDrop<'_> {
    fn drop(&mut self) {
        self.0.mark_not_ready();
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}
