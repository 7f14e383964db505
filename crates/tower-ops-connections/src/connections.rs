use std::fmt;
use std::future::{Future, poll_fn};
#[cfg(feature = "axum")]
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::builder::ConnectionsBuilder;
use crate::drain::DrainReport;
use crate::limits::OnLimit;
use crate::listed::Listed;
use crate::metrics::ListenerMetrics;
use crate::shared::Shared;
use crate::tracked::Tracked;
use crate::{Acceptor, CloseReason, Connection, ConnectionSnapshot, Listener, Peer, RejectReason};

/// The connections of a server: all of them, their limits and their end. Cheap to
/// clone.
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

/// Room for one more connection. Made by [`Connections::room`].
#[derive(Debug)]
#[must_use = "the room is taken as long as this lives"]
pub struct Room {
    connections: Connections,
    permit: Option<OwnedSemaphorePermit>,
}

impl Connections {
    /// With the defaults, which are safe in production: see
    /// [`ConnectionsBuilder`].
    #[must_use]
    pub fn new() -> Self {
        ConnectionsBuilder::default().build_checked()
    }

    /// Begins with the defaults.
    pub fn builder() -> ConnectionsBuilder {
        ConnectionsBuilder::default()
    }

    pub(crate) fn from_shared(shared: Arc<Shared>, listener: &str) -> Self {
        Self {
            listener: shared.listener(listener),
            shared,
        }
    }

    /// The same connections, with another `listener` in the metrics of those that
    /// are accepted by what is returned. `default` unless told.
    ///
    /// Takes names from the program: each has its own series, for good.
    #[must_use]
    pub fn named(&self, listener: &str) -> Self {
        Self::from_shared(Arc::clone(&self.shared), listener)
    }

    /// Cuts what was upgraded of the connections that this handle has accepted: the
    /// tasks that have them are the application's, and do not end with a server.
    #[cfg(feature = "hyper-util")]
    pub(crate) fn cut_upgraded(&self) {
        for connection in self.shared.shards.all() {
            let is_ours = Arc::ptr_eq(&connection.record.listener, &self.listener);
            if is_ours && connection.protocol() == crate::Protocol::Upgraded {
                connection.request_close(CloseReason::Drain);
                connection.force();
            }
        }
    }

    /// Waits until there is room for one more connection, if there is a limit that
    /// waits. The room is taken while the [`Room`] lives, also while it is not used:
    /// a loop that accepts does better with [`accept_from`](Self::accept_from).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; whoever asks again is last in the queue.
    pub async fn room(&self) -> Room {
        let permit = match self.waits_for() {
            // Never closed.
            Some(room) => Arc::clone(room).acquire_owned().await.ok(),
            None => None,
        };
        self.room_of(permit)
    }

    fn waits_for(&self) -> Option<&Arc<Semaphore>> {
        let room = self.shared.room.as_ref();
        room.filter(|_| self.shared.limits.on_limit == OnLimit::Wait)
    }

    fn room_of(&self, permit: Option<OwnedSemaphorePermit>) -> Room {
        Room {
            connections: self.clone(),
            permit,
        }
    }

    /// Room, together with what `accepting` has accepted. Accepts only while there is
    /// room, so that what waits does so in the kernel's queue; but takes none while
    /// nothing comes, which another listener may need.
    pub(crate) async fn with_room<T>(&self, accepting: impl Future<Output = T>) -> (Room, T) {
        let mut accepting = pin!(accepting);
        let Some(room) = self.waits_for() else {
            let accepted = accepting.await;
            return (self.room_of(None), accepted);
        };
        loop {
            let permit = Arc::clone(room).acquire_owned().await.ok();
            let polled = poll_fn(|cx| Poll::Ready(accepting.as_mut().poll(cx))).await;
            if let Poll::Ready(accepted) = polled {
                return (self.room_of(permit), accepted);
            }
            drop(permit);
            woken().await;
        }
    }

    /// Counts an error of an accept loop.
    #[cfg(feature = "axum")]
    pub(crate) fn accept_failed(&self, error: &io::Error) {
        self.listener.accept_failed(error);
    }

    pub(crate) async fn next_of<L: Listener>(
        &self,
        acceptor: &mut Acceptor<L>,
    ) -> (Room, L::Io, Peer) {
        let (room, (io, peer)) = {
            let accepted = acceptor.accept_or(|error| self.listener.accept_failed(error));
            self.with_room(accepted).await
        };
        (room, io, peer)
    }

    /// Accepts the next connection of `acceptor`, and tracks it. As long as there are
    /// as many connections as there may be, what comes waits in the kernel's queue,
    /// unless [`OnLimit`] says otherwise; several listeners share the room.
    ///
    /// # Errors
    ///
    /// If there are too many connections, in all or of this peer. The stream is
    /// dropped then, which closes it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; whoever asks again is last in the queue for room.
    ///
    /// # Examples
    ///
    /// An accept loop by hand, with hyper-util:
    ///
    /// ```no_run
    /// # use hyper::body::Incoming;
    /// # use http::{Request, Response};
    /// # use tower_ops_connections::{Acceptor, Connections};
    /// # async fn run(listener: tokio::net::TcpListener, connections: Connections) {
    /// let mut acceptor = Acceptor::new(listener);
    /// loop {
    ///     let Ok(io) = connections.accept_from(&mut acceptor).await else {
    ///         continue;
    ///     };
    ///     let app = tower::service_fn(async |_: Request<Incoming>| {
    ///         Ok::<_, std::convert::Infallible>(Response::new(String::new()))
    ///     });
    ///     let service = io.connection().service(app);
    ///     // and serve TokioIo::new(io) with TowerToHyperService::new(service)
    /// #   let _: (_, fn(&mut Request<Incoming>)) = (service, |_| ());
    /// }
    /// # }
    /// ```
    pub async fn accept_from<L: Listener>(
        &self,
        acceptor: &mut Acceptor<L>,
    ) -> Result<Tracked<L::Io>, RejectReason> {
        let (room, io, peer) = self.next_of(acceptor).await;
        room.accept(io, peer)
    }

    /// Tracks a stream that was accepted: waits for [room](Self::room) first.
    ///
    /// # Errors
    ///
    /// If there are too many connections; the stream is dropped then.
    ///
    /// # Cancel safety
    ///
    /// The stream is dropped with the future.
    pub async fn accept<I: 'static>(
        &self,
        io: I,
        peer: impl Into<Peer> + Send,
    ) -> Result<Tracked<I>, RejectReason> {
        self.room().await.accept(io, peer)
    }

    /// How many connections are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.open()
    }

    /// Whether no connection is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns on how many connections requests were answered of which none was
    /// [watched](Connection::set_watched). As long as no request of any connection was, it looks
    /// through those that are open; after that it is the number of those that have ended, which
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

    /// The connection of that number, if it is open. Looks through a 64th of them.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Connection> {
        self.shared.shards.find(id)
    }

    /// Closes the connection of that number in order; after the grace, whatever is
    /// in flight is cut off. One of HTTP/1 that is between two requests stays until
    /// it was told with an answer, or for the grace. `false` if it is not there, or is being closed already.
    #[expect(clippy::must_use_candidate, reason = "the close is what counts")]
    pub fn close(&self, id: u64) -> bool {
        self.get(id)
            .is_some_and(|connection| connection.request_close(CloseReason::Manual))
    }

    /// What connections are like, those with the smallest numbers first, from the
    /// one after `after` on. Copies at most `limit`, but looks at every one.
    #[must_use]
    pub fn snapshot(&self, after: u64, limit: usize) -> Vec<ConnectionSnapshot> {
        let mut ids = std::collections::BinaryHeap::new();
        for connection in self.shared.shards.all() {
            if connection.id() > after {
                ids.push(Numbered(connection));
                if ids.len() > limit {
                    ids.pop();
                }
            }
        }
        let sorted = ids.into_sorted_vec();
        let snapshots = sorted.iter().map(|it| ConnectionSnapshot::of(&it.0));
        snapshots.collect()
    }

    /// Closes every connection in order, and those that come from now on: HTTP/1
    /// after its exchange, HTTP/2 after its streams, upgraded ones are
    /// [told](Connection::closing). One of HTTP/1 without an exchange in flight gets
    /// the [linger](ConnectionsBuilder::linger) for one more, so that a drain takes
    /// that long if clients keep silent connections. Cuts off what is left at the
    /// deadline.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connections stay told, and nothing is cut off
    /// at the deadline.
    pub fn drain(&self, deadline: Duration) -> impl Future<Output = DrainReport> + Send + 'static {
        Arc::clone(&self.shared).drain(deadline)
    }

    /// Completes when a drain has begun and no connection is open any more: the signal
    /// to give to axum's and tonic's graceful shutdown. At their signal these end
    /// connections of HTTP/1 at once that are between two requests, and the next
    /// request is lost; after a drain there are none.
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

    /// Whether a drain has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining()
    }
}

impl Room {
    pub(crate) fn for_bench(connections: &Connections) -> Self {
        Self {
            connections: connections.clone(),
            permit: None,
        }
    }

    /// Tracks a stream that was accepted.
    ///
    /// # Errors
    ///
    /// If there are too many connections, in all or of this peer. The stream is
    /// dropped then, which closes it.
    pub fn accept<I: 'static>(
        self,
        io: I,
        peer: impl Into<Peer>,
    ) -> Result<Tracked<I>, RejectReason> {
        self.admit(&io, peer.into())
            .map(|listed| Tracked::new(io, listed))
    }

    pub(crate) fn admit<I: 'static>(self, io: &I, peer: Peer) -> Result<Listed, RejectReason> {
        let Connections { shared, listener } = self.connections;
        let refuse = |reason| {
            shared.reject(&listener, peer, reason);
            Err(reason)
        };
        let permit = match (self.permit, &shared.room) {
            (None, Some(room)) => match Arc::clone(room).try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => return refuse(RejectReason::MaxConnections),
            },
            (permit, _) => permit,
        };
        let per_ip = match shared.reserve_for(peer) {
            Ok(per_ip) => per_ip,
            Err(reason) => return refuse(reason),
        };
        shared.limits.keep_alive.set(io);
        let (connection, key) = shared.insert(peer, &listener);
        shared.ensure_reaper();
        Ok(Listed::new(connection, key, permit, per_ip))
    }
}

/// Completes when the task is polled again, for whatever reason.
async fn woken() {
    let mut polled = false;
    poll_fn(|_| {
        if std::mem::replace(&mut polled, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Ordered by number.
struct Numbered(Connection);

impl PartialEq for Numbered {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for Numbered {}

impl PartialOrd for Numbered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Numbered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.id().cmp(&other.0.id())
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
