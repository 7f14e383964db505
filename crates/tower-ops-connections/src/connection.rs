use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::exchange::service::ConnectionService;
use crate::record::Record;
use crate::{CloseReason, Peer, Protocol};

thread_local! {
    // Not an extension of the request, which would cost an allocation for each request.
    static CURRENT: Cell<Option<Connection>> = const { Cell::new(None) };
}

/// A handle to one connection. Cheap to clone; stays valid when the connection is closed.
///
/// Handlers get theirs from [`Connection::current`], and with the feature `axum` as an extractor.
///
/// # Examples
///
/// A WebSocket that sends a close frame when the server stops:
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
    /// Returns the connection of the request that this task is serving.
    ///
    /// `None` outside of a [`ConnectionService`], and in tasks that a handler has spawned: give them
    /// a clone.
    #[must_use]
    pub fn current() -> Option<Self> {
        Self::with_current(Self::clone)
    }

    /// Calls `look` with the connection that [`current`](Self::current) returns, without counting a
    /// reference.
    pub fn with_current<T>(look: impl FnOnce(&Self) -> T) -> Option<T> {
        let taken = Taken(CURRENT.try_with(Cell::take).ok().flatten());
        taken.0.as_ref().map(look)
    }

    /// Records that a request of this connection has reached the layer that watches requests, or
    /// needs none. [`Connections::unwatched`](crate::Connections::unwatched) uses it to find out
    /// whether that layer is missing.
    #[inline]
    pub fn set_watched(&self) {
        self.record.watched.set(&self.record.shared.watched);
    }

    /// Returns its id: counted from 1, and unique among its [`Connections`](crate::Connections).
    #[must_use]
    pub fn id(&self) -> u64 {
        self.record.id
    }

    /// Returns its peer.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.record.peer
    }

    /// Returns the name of the listener that accepted it.
    #[must_use]
    pub fn listener(&self) -> &str {
        &self.record.listener.name
    }

    /// Returns its protocol, as far as it is known.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.record.protocol()
    }

    /// Returns whether it is encrypted by the TLS of the `Server`. `None` on other servers, which may
    /// terminate TLS elsewhere.
    #[must_use]
    pub fn is_tls(&self) -> Option<bool> {
        self.record.is_managed().then(|| self.record.is_tls())
    }

    /// Returns how long it has been open.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.record.opened_at.elapsed()
    }

    /// Returns how long nothing has been in flight, as of the reaper's last step; zero if something
    /// is.
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

    /// Returns how many exchanges it has had, including those in flight.
    #[must_use]
    pub fn exchanges(&self) -> u64 {
        self.record.exchanges()
    }

    /// Returns how many exchanges are in flight, and [`BusyGuard`]s. On HTTP/2 at least as many as
    /// streams are open on the wire: also a WebSocket, and a response that the handler has finished
    /// and the client has not read.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.record.in_flight()
    }

    /// Returns how many bytes were read.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.record.bytes_read()
    }

    /// Returns how many bytes were written.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.record.bytes_written()
    }

    /// Returns why it is being closed, or was closed; `None` while it is open.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.record.state.load().reason()
    }

    /// Keeps the connection from being idle while the guard lives: for a WebSocket that is silent on
    /// purpose, for example.
    ///
    /// # Examples
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

    /// Completes with the reason when a close was requested, or the connection is closed. After an
    /// upgrade, the handler has the grace to end the connection in order.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub fn closing(&self) -> impl Future<Output = CloseReason> + Send + 'static {
        let record = Arc::clone(&self.record);
        async move {
            loop {
                let mut notified = std::pin::pin!(record.closing.notified());
                notified.as_mut().enable();
                let state = record.state.load();
                // A request may still revoke a close for idleness.
                if let Some(reason) = state.reason()
                    && (reason != CloseReason::Idle
                        || state.is_committed()
                        || record.protocol() == Protocol::Upgraded)
                {
                    return reason;
                }
                notified.await;
            }
        }
    }

    /// Closes it in order, and cuts off what is in flight after the grace.
    pub fn close(&self) {
        self.request_close(CloseReason::Manual);
    }

    /// Returns the service of this connection, which tracks its exchanges.
    #[must_use]
    pub fn service<S>(&self, inner: S) -> ConnectionService<S> {
        ConnectionService::new(self.clone(), inner)
    }
}

/// Keeps a connection from being idle while it lives. Made by [`Connection::busy`].
#[derive(Debug)]
#[must_use = "the connection is busy only while this lives"]
pub struct BusyGuard {
    connection: Connection,
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.connection.end();
    }
}

/// The current connection while it is looked at. Put back also after a panic.
struct Taken(Option<Connection>);

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            let _ = CURRENT.try_with(|current| current.set(Some(connection)));
        }
    }
}

/// Makes a connection the current one while it lives. Moves the handle to the thread and back, so
/// that a poll counts no references.
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
