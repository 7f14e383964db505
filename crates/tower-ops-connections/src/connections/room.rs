//! Room for connections under `max_connections` and `max_per_ip`, and how they are accepted into
//! it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connections::Connections;
use crate::connections::limits::OnLimit;
use crate::connections::registration::Registration;
use crate::connections::shared::Shared;
use crate::io::tracked::Tracked;
use crate::{Acceptor, Listener, Peer, RejectReason};

/// Room for one more connection. Made by [`Connections::room`].
#[derive(Debug)]
#[must_use = "the room is reserved only while this lives"]
pub struct Room {
    connections: Connections,
    permit: Option<OwnedSemaphorePermit>,
}

impl Connections {
    /// Waits until there is room for one more connection, if [`OnLimit`] is to wait. The room is
    /// reserved while the [`Room`] lives, even if it is not used. In an accept loop, prefer
    /// [`accept_from`](Self::accept_from), which reserves none while no client comes.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. A new call queues behind all others.
    pub async fn room(&self) -> Room {
        let permit = match self.waits_for() {
            // The semaphore is never closed.
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

    /// Completes with what `accepting` has accepted, and room for it.
    ///
    /// Polls `accepting` only while it holds room, so that clients wait in the kernel's queue. Gives
    /// the room back while no client comes, since another listener may need it.
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

    /// Accepts the next connection of `acceptor` and tracks it. At `max_connections`, clients wait
    /// in the kernel's queue, unless [`OnLimit`] is to reject them. Several listeners share the
    /// room.
    ///
    /// # Errors
    ///
    /// If there are too many connections, in all or of this peer. The stream is then dropped, which
    /// closes it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. A new call queues for room behind all others.
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

    /// Tracks a stream that was accepted, once there is [room](Self::room).
    ///
    /// # Errors
    ///
    /// If there are too many connections. The stream is then dropped, which closes it.
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
}

impl Room {
    #[cfg(any(test, feature = "bench"))]
    pub(crate) fn for_bench(connections: &Connections) -> Self {
        connections.room_of(None)
    }

    /// Tracks a stream that was accepted.
    ///
    /// # Errors
    ///
    /// If there are too many connections, in all or of this peer. The stream is then dropped, which
    /// closes it.
    pub fn accept<I: 'static>(
        self,
        io: I,
        peer: impl Into<Peer>,
    ) -> Result<Tracked<I>, RejectReason> {
        self.admit(&io, peer.into())
            .map(|registration| Tracked::new(io, registration))
    }

    pub(crate) fn admit<I: 'static>(
        self,
        io: &I,
        peer: Peer,
    ) -> Result<Registration, RejectReason> {
        let Connections { shared, listener } = self.connections;
        let refuse = |reason| {
            listener.rejected(reason);
            shared.events.rejected(peer, reason);
            Err(reason)
        };
        let permit = match (self.permit, &shared.room) {
            (None, Some(room)) => match Arc::clone(room).try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => return refuse(RejectReason::MaxConnections),
            },
            (permit, _) => permit,
        };
        let per_ip = match PerIp::reserve(&shared, peer) {
            Ok(per_ip) => per_ip,
            Err(reason) => return refuse(reason),
        };
        shared.limits.keep_alive.set(io);
        let (connection, key) = shared.insert(peer, &listener);
        shared.ensure_reaper();
        Ok(Registration::new(connection, key, permit, per_ip))
    }
}

/// Counts a connection of an address while it lives.
pub(crate) struct PerIp {
    shared: Arc<Shared>,
    network: std::net::IpAddr,
}

impl PerIp {
    fn reserve(shared: &Arc<Shared>, peer: Peer) -> Result<Option<Self>, RejectReason> {
        let (Some(most), Some(network)) = (shared.limits.max_per_ip, peer.network()) else {
            return Ok(None);
        };
        let mut counts = shared.per_ip.lock();
        let count = counts.entry(network).or_insert(0);
        if *count >= most {
            return Err(RejectReason::MaxPerIp);
        }
        *count += 1;
        Ok(Some(Self {
            shared: Arc::clone(shared),
            network,
        }))
    }
}

impl Drop for PerIp {
    fn drop(&mut self) {
        let mut counts = self.shared.per_ip.lock();
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            // The map must not grow with every address that ever came.
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

/// Completes when the task is polled again, for any reason.
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
