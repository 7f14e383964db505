use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::exchange::service::ConnectionService;
use crate::record::Record;
use crate::{CloseReason, Peer, Protocol};

thread_local! {
    // Not an extension of the request: that takes an allocation for each, and few
    // ask.
    static CURRENT: Cell<Option<Connection>> = const { Cell::new(None) };
}

/// One connection. Cheap to clone; stays valid when the connection is closed.
///
/// Handlers get theirs by [`Connection::current`], and with the feature `axum` as
/// an extractor.
///
/// # Examples
///
/// A WebSocket that says goodbye when the server stops:
///
/// ```
/// use tower_ops_connections::Connection;
///
/// async fn chat(connection: Connection) {
///     tokio::select! {
///         reason = connection.closing() => {
///             // send a close frame with code 1001, and return
/// #           let _ = reason;
///         }
///         () = talk() => {}
///     }
/// }
/// # async fn talk() {}
/// # let _ = chat;
/// ```
#[derive(Clone)]
pub struct Connection {
    pub(crate) record: Arc<Record>,
}

impl Connection {
    /// The connection of the request that is being served right now on this task.
    ///
    /// `None` outside of a [`ConnectionService`], and in tasks that a handler
    /// spawned: give them a clone.
    #[must_use]
    pub fn current() -> Option<Self> {
        Self::with_current(Self::clone)
    }

    /// Calls `look` with the connection that [`current`](Self::current) would give,
    /// without counting a reference.
    pub fn with_current<T>(look: impl FnOnce(&Self) -> T) -> Option<T> {
        let taken = Taken(CURRENT.try_with(Cell::take).ok().flatten());
        taken.0.as_ref().map(look)
    }

    /// Records that a request of this connection has reached the layer that watches requests, or
    /// needs none. For [`Connections::unwatched`](crate::Connections::unwatched), which finds out
    /// where that layer is missing.
    #[inline]
    pub fn set_watched(&self) {
        self.record.watched.set(&self.record.shared.watched);
    }

    /// Its number: counted from 1, never used again in this process's
    /// [`Connections`](crate::Connections).
    #[must_use]
    pub fn id(&self) -> u64 {
        self.record.id
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.record.peer
    }

    /// The name of the listener that accepted it.
    #[must_use]
    pub fn listener(&self) -> &str {
        &self.record.listener.name
    }

    /// What it speaks, as far as it is known.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.record.protocol()
    }

    /// Returns whether it is encrypted by this server's TLS: known of connections of the
    /// `Server`, and `None` for those of others, which may do TLS below.
    #[must_use]
    pub fn is_tls(&self) -> Option<bool> {
        self.record.is_managed().then(|| self.record.is_tls())
    }

    /// How long it has been open.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.record.opened_at.elapsed()
    }

    /// How long nothing has been in flight, as of the reaper's last step; zero if
    /// something is.
    #[must_use]
    pub fn idle(&self) -> Duration {
        if self.in_flight() > 0 {
            return Duration::ZERO;
        }
        let since = match self.protocol() {
            Protocol::Upgraded => self.record.last_byte(),
            _ => self.record.idle_since(),
        };
        self.record.shared.clock.now().saturating_sub(since)
    }

    /// How many exchanges it has had, with those in flight.
    #[must_use]
    pub fn exchanges(&self) -> u64 {
        self.record.exchanges()
    }

    /// How many exchanges are in flight, and [`BusyGuard`]s. On HTTP/2 at least as
    /// many as streams are open on the wire: also one whose response is over for
    /// the handler, but not for the client, and a WebSocket.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.record.in_flight()
    }

    /// How many bytes came.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.record.bytes_read()
    }

    /// How many bytes went out.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.record.bytes_written()
    }

    /// Why it is being closed, or was; `None` as long as it is open.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.record.state.load().reason()
    }

    /// Keeps the connection from counting as idle, for what is no exchange: a
    /// WebSocket that is silent for a reason, say.
    ///
    /// ```
    /// # fn silent(connection: tower_ops_connections::Connection) {
    /// let busy = connection.busy();
    /// // as long as this lives
    /// # drop(busy);
    /// # }
    /// ```
    pub fn busy(&self) -> BusyGuard {
        self.record.state.begin();
        BusyGuard {
            connection: self.clone(),
        }
    }

    /// Completes when the connection is to be closed, or is closed, with the
    /// reason. A socket after an upgrade has the grace to say goodbye.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub fn closing(&self) -> impl Future<Output = CloseReason> + Send + 'static {
        let record = Arc::clone(&self.record);
        async move {
            loop {
                let mut told = std::pin::pin!(record.closing.notified());
                told.as_mut().enable();
                let state = record.state.load();
                // A request may still take an idle close back.
                if let Some(reason) = state.reason()
                    && (reason != CloseReason::Idle
                        || state.is_committed()
                        || record.protocol() == Protocol::Upgraded)
                {
                    return reason;
                }
                told.await;
            }
        }
    }

    /// Closes it in order: the exchanges in flight come to their end, up to the
    /// grace.
    pub fn close(&self) {
        self.request_close(CloseReason::Manual);
    }

    /// The service of this connection: tells it of its exchanges, and each exchange
    /// of its connection.
    #[must_use]
    pub fn service<S>(&self, inner: S) -> ConnectionService<S> {
        ConnectionService::new(self.clone(), inner)
    }
}

/// Keeps a connection busy while it lives. Made by [`Connection::busy`].
#[derive(Debug)]
#[must_use = "the connection is busy only as long as this lives"]
pub struct BusyGuard {
    connection: Connection,
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.connection.end();
    }
}

/// The current connection, taken to be looked at; put back also after a panic.
struct Taken(Option<Connection>);

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            let _ = CURRENT.try_with(|current| current.set(Some(connection)));
        }
    }
}

/// Makes a connection the current one, while it lives. Moves the handle to the
/// thread and back, so that a poll counts no references.
pub(crate) struct Scope<'a> {
    home: &'a mut Option<Connection>,
    around: Option<Connection>,
}

impl<'a> Scope<'a> {
    #[inline]
    pub(crate) fn enter(home: &'a mut Option<Connection>) -> Self {
        let around = CURRENT
            .try_with(|current| current.replace(home.take()))
            .ok()
            .flatten();
        Self { home, around }
    }
}

impl Drop for Scope<'_> {
    #[inline]
    fn drop(&mut self) {
        let around = self.around.take();
        if let Ok(own) = CURRENT.try_with(|current| current.replace(around)) {
            *self.home = own;
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id())
            .field("peer", &self.peer())
            .field("protocol", &self.protocol())
            .field("exchanges", &self.exchanges())
            .field("in_flight", &self.in_flight())
            .field("close_reason", &self.close_reason())
            .finish_non_exhaustive()
    }
}
