pub(crate) mod builder;
pub(crate) mod limits;
pub(crate) mod registration;
pub(crate) mod room;
pub(crate) mod shards;
pub(crate) mod shared;
pub(crate) mod snapshot;
pub(crate) mod watched;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::close::drain::DrainReport;
use crate::connections::builder::ConnectionsBuilder;
use crate::connections::shared::Shared;
use crate::metrics::ListenerMetrics;
use crate::{CloseReason, Connection, ConnectionSnapshot};

/// The connections of a server, with their limits. Cheap to clone.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_ops_connections::Connections;
///
/// # fn main() -> Result<(), tower_ops_connections::ConfigError> {
/// let connections = Connections::builder()
///     .idle_timeout(Duration::from_secs(120))
///     .max_connections(10_000)
///     .build()?;
/// assert_eq!(connections.len(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Connections {
    pub(crate) shared: Arc<Shared>,
    listener: Arc<ListenerMetrics>,
}

impl Connections {
    /// Creates connections with the defaults, which are safe in production: see
    /// [`ConnectionsBuilder`].
    #[must_use]
    pub fn new() -> Self {
        ConnectionsBuilder::default().build_valid()
    }

    /// Returns a builder with the defaults.
    pub fn builder() -> ConnectionsBuilder {
        ConnectionsBuilder::default()
    }

    pub(crate) fn from_shared(shared: Arc<Shared>, listener: &str) -> Self {
        Self {
            listener: shared.listener(listener),
            shared,
        }
    }

    /// Returns a handle to the same connections, with another `listener` label in the metrics of
    /// those that it accepts. The label is `default` otherwise.
    ///
    /// Use a fixed set of names: each one keeps its series for the life of the process.
    #[must_use]
    pub fn named(&self, listener: &str) -> Self {
        Self::from_shared(Arc::clone(&self.shared), listener)
    }

    /// Forces the upgraded connections that this handle has accepted: their tasks belong to the
    /// application and do not end with a server.
    #[cfg(feature = "hyper-util")]
    pub(crate) fn force_upgraded(&self) {
        for connection in self.shared.shards.all() {
            let is_own = Arc::ptr_eq(&connection.record.listener, &self.listener);
            if is_own && connection.protocol() == crate::Protocol::Upgraded {
                connection.request_close(CloseReason::Drain);
                connection.force();
            }
        }
    }

    /// Returns how many connections are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.open()
    }

    /// Returns whether no connection is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns on how many connections requests were answered of which none was
    /// [watched](Connection::set_watched). Looks at all open connections until a request of any
    /// connection was watched. After that it is the number of connections that have ended, which
    /// costs nothing.
    #[must_use]
    pub fn unwatched(&self) -> u64 {
        let ended = self.shared.watched.ended_unwatched();
        if self.shared.watched.any() {
            return ended;
        }
        let open = self.shared.shards.all();
        let open = open.filter(|connection| connection.record.watched.is_missing());
        ended + open.count() as u64
    }

    /// Returns whether any request was [watched](Connection::set_watched).
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.shared.watched.any()
    }

    /// Returns the connection with that id, if it is open. Searches a 64th of the connections.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Connection> {
        self.shared.shards.find(id)
    }

    /// Closes the connection with that id in order, and cuts off what is in flight after the grace.
    /// A connection of HTTP/1 between two requests stays open until it has sent a response with
    /// `Connection: close`, or for the grace. Returns `false` if it is not open, or is being closed
    /// already.
    #[expect(clippy::must_use_candidate, reason = "the close is what counts")]
    pub fn close(&self, id: u64) -> bool {
        self.get(id)
            .is_some_and(|connection| connection.request_close(CloseReason::Manual))
    }

    /// Returns snapshots of up to `limit` connections with ids above `after`, in the order of their
    /// ids. Looks at all connections.
    #[must_use]
    pub fn snapshot(&self, after: u64, limit: usize) -> Vec<ConnectionSnapshot> {
        let mut smallest = BTreeMap::new();
        for connection in self.shared.shards.all() {
            if connection.id() > after {
                smallest.insert(connection.id(), connection);
                if smallest.len() > limit {
                    smallest.pop_last();
                }
            }
        }
        smallest.values().map(ConnectionSnapshot::of).collect()
    }

    /// Closes every connection in order, also those that are accepted from now on. HTTP/1 closes
    /// after the exchange in flight, HTTP/2 after its streams, and the handlers of upgraded
    /// connections learn of it by [`Connection::closing`]. A connection of HTTP/1 without an
    /// exchange in flight waits for one more request up to the [linger](ConnectionsBuilder::linger),
    /// so a drain takes at least as long if clients keep silent connections. After
    /// `timeout` whatever is still open is cut off; with `None` nothing is, until another drain of
    /// the same connections does it.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connections still close, but nothing is cut off at the
    /// deadline.
    pub fn drain(
        &self,
        timeout: impl Into<Option<Duration>>,
    ) -> impl Future<Output = DrainReport> + Send + 'static {
        Arc::clone(&self.shared).drain(timeout.into())
    }

    /// Completes when a drain has begun and no connection is open. Give it to axum's or tonic's
    /// graceful shutdown as the signal: at their signal these close connections of HTTP/1 between
    /// two requests at once, and the next request would be lost. After a drain there are none.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(listener: tokio::net::TcpListener, app: axum::Router) -> std::io::Result<()> {
    /// use std::time::Duration;
    /// use tower_ops_connections::Connections;
    ///
    /// # #[cfg(feature = "axum")] {
    /// let connections = Connections::new();
    /// let make = connections.make_service(app.into_make_service());
    /// let serving = axum::serve(connections.listener(listener), make)
    ///     .with_graceful_shutdown(connections.drained());
    /// let stopping = async {
    ///     tokio::signal::ctrl_c().await?;
    ///     println!("{}", connections.drain(Duration::from_secs(15)).await);
    ///     Ok(())
    /// };
    /// tokio::try_join!(serving.into_future(), stopping)?;
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub fn drained(&self) -> impl Future<Output = ()> + Send + 'static {
        Arc::clone(&self.shared).drained()
    }

    /// Returns whether a drain has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining()
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("listener", &self.listener.name)
            .field("open", &self.len())
            .field("limits", &self.shared.limits)
            .finish_non_exhaustive()
    }
}
