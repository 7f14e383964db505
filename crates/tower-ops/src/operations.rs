use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tower_ops_admin::{Admin, AdminServer};
use tower_ops_core::config::StartError;
use tower_ops_requests::RequestTracker;

use crate::ops::Ops;
use crate::readiness;
use crate::setup_warnings;

/// The operations endpoint.
impl Ops {
    /// Returns the operations endpoint as a tower service, with an index at `/`: `/metrics`,
    /// `/connections`, `/requests`, the probes, `/prestop`, and what was
    /// [mounted](crate::OpsBuilder::operations). Use it on the application's own port:
    /// `ops.operations().layer("/ops")` around everything, or nested in a router.
    ///
    /// [`serve`](Self::serve) and [`start_operations`](Self::start_operations) put it on its own
    /// port. If you use neither, spawn [`run`](Self::run) as well.
    #[must_use]
    pub fn operations(&self) -> Admin {
        self.inner.admin.clone()
    }

    /// Returns the address of the operations endpoint, with the port that was chosen for port 0.
    /// `None` before the endpoint was started. It stays after the endpoint has ended.
    #[must_use]
    pub fn operations_addr(&self) -> Option<SocketAddr> {
        *self.inner.listens.lock()
    }

    /// Runs the health checks, and the lifecycle with its signals, until the process has stopped.
    ///
    /// Spawn it if the operations endpoint is on the application's own port.
    /// [`start_operations`](Self::start_operations) and [`serve`](Self::serve) do it already, and
    /// also watch the runtime from another thread.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the health checks. A shutdown that has begun goes on.
    pub fn run(&self) -> impl Future<Output = ()> + Send + use<> {
        let health = self.inner.health.run();
        let watch = self.watch();
        let lifecycle = self.inner.lifecycle.clone();
        async move {
            let stopped = lifecycle.run();
            let run = async { tokio::join!(health, watch) };
            tokio::select! {
                _ = stopped => {}
                _ = run => {}
            }
        }
    }

    /// Publishes the phase of the process and watches its requests: best on another thread than
    /// the application's.
    fn watch(&self) -> impl Future<Output = ()> + Send + use<> {
        let tracker = self.inner.tracker.as_ref().map(RequestTracker::watch);
        let phase = readiness::follow(self.inner.lifecycle.clone(), self.inner.health.clone());
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
    /// The endpoint runs on a thread and a runtime of its own, until the returned handle is
    /// dropped: it answers probes even if the application's runtime is stuck. The service is live
    /// but not ready. Call [`mark_ready`](Self::mark_ready) when it can take requests.
    ///
    /// The health checks and the [lifecycle](Self::lifecycle) run on the runtime on which this is
    /// called. From here on SIGTERM and SIGINT begin the shutdown and do not end the process. Give
    /// [`signal_to_stop`](tower_ops_lifecycle::Lifecycle::signal_to_stop) to the server, run it by
    /// [`with_deadline`](tower_ops_lifecycle::Lifecycle::with_deadline), and await [`run`](tower_ops_lifecycle::Lifecycle::run) before `main`
    /// returns. Without `with_deadline` the drain ends when no request has come to the
    /// [layer](Self::layer) for half a second.
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
    /// [`connections().drained()`](tower_ops_connections::Connections::drained) to the server instead. The server's own
    /// shutdown closes a connection between two requests at once. The drain first sends
    /// `Connection: close`.
    ///
    /// # Errors
    ///
    /// If the address is taken, the thread cannot be started, or this is called outside of a tokio
    /// runtime. A `main` that returns the error in a `Box<dyn Error>` prints a sentence with the
    /// address.
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
                "start_operations was called outside of a tokio runtime, which the health checks \
                 need",
            )
        })?;
        let health = self.inner.health.run();
        let layer = setup_warnings::watch_layer(self.inner.connections.clone());
        let readiness = setup_warnings::watch_readiness(self.inner.lifecycle.clone());
        // A set of one, since it aborts its task when it is dropped.
        let mut checks = JoinSet::new();
        let run_checks = async move {
            tokio::join!(health, layer, readiness);
        };
        checks.spawn_on(run_checks, &application);
        let watch_runtime = self.inner.health.watch();
        let watch = self.watch();
        let beside = async move {
            // Dropped with this future when the server ends, or could not be started.
            let _checks = checks;
            tokio::join!(watch_runtime, watch, pending::<()>());
        };
        let server = self.inner.admin.start_with(self.inner.ops_addr, beside);
        let server = server.map_err(|error| error.with_hint("ops_addr sets it"))?;
        *self.inner.listens.lock() = Some(server.addr());
        // A task of its own carries it out: the future that is dropped would only wait for it.
        drop(self.inner.lifecycle.run());
        Ok(server)
    }
}
