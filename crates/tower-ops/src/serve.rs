use std::error::Error;
use std::future::Future;

use http::{Request, Response};
use http_body::Body;
use tower_ops_connections::{Listener, RequestBody};
use tower_ops_core::config::StartError;
use tower_ops_lifecycle::ShutdownReport;
use tower_service::Service;

use crate::ops::Ops;
use crate::servers::Servers;

/// Serving.
impl Ops {
    /// Serves the application on `listener` (HTTP/1.1 and HTTP/2, with upgrades)
    /// and the operations endpoint on its own address, until the process is told to stop:
    /// by SIGTERM, SIGINT, `/prestop` or [`shutdown`](tower_ops_lifecycle::Lifecycle::shutdown).
    ///
    /// The service is ready when all start-up steps are done that the
    /// [lifecycle](crate::OpsBuilder::lifecycle) expects, or at once. When it is told to stop:
    ///
    /// 1. For 5 seconds it is not ready and serves all the same, since whoever routes to it
    ///    needs a while to notice. HTTP/1 responses carry `Connection: close`.
    /// 2. The listener is closed, HTTP/2 clients get GOAWAY, streams that have a
    ///    [token](tower_ops_lifecycle::Lifecycle::drain_token) are told, and what is in flight gets 15 seconds.
    /// 3. What is left is cut off, and the report names it.
    /// 4. [Hooks](tower_ops_lifecycle::Lifecycle::on_stop) run, the last one registered first, for at most 5
    ///    seconds in all; the operations endpoint closes last.
    ///
    /// A second signal ends the process at once. [`OpsBuilder::lifecycle`](crate::OpsBuilder::lifecycle) changes the
    /// times, [`OpsBuilder::connections`](crate::OpsBuilder::connections) the limits of connections.
    ///
    /// The application is an `axum::Router`, tonic's `Routes`, or any other tower
    /// service. Both on one port: `axum_and_grpc(app, routes)`, with the features `axum` and
    /// `tonic`. On several ports: [`servers`](Self::servers).
    ///
    /// # Errors
    ///
    /// If the operations endpoint cannot be started (a `main` that returns the error in a
    /// `Box<dyn Error>` prints a sentence with the address), or this `Ops` has served before and was
    /// stopped: its life is over then. What goes wrong on a single connection does not end the
    /// server.
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

    /// As [`serve`](Self::serve), and `shutdown` is one more thing that tells the process
    /// to stop.
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

    /// Several listeners in one life: HTTP and gRPC on ports of their own, a Unix socket.
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
