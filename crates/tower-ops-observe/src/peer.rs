use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_service::Service;

thread_local! {
    // For the same reason as the route: no allocation for what every request has.
    static PEER: Cell<Option<SocketAddr>> = const { Cell::new(None) };
}

/// The peer of the connection that is being served right now on this task.
pub(crate) fn current() -> Option<SocketAddr> {
    PEER.try_with(Cell::get).ok().flatten()
}

struct Scope {
    around: Option<SocketAddr>,
}

impl Scope {
    fn enter(peer: SocketAddr) -> Self {
        Self {
            around: PEER
                .try_with(|slot| slot.replace(Some(peer)))
                .ok()
                .flatten(),
        }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let _ = PEER.try_with(|slot| slot.set(self.around));
    }
}

/// The service of one connection: tells every
/// [`ObserveLayer`](crate::ObserveLayer) further in who the peer is.
///
/// For accept loops, which know; costs no allocation and no extension.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::net::SocketAddr;
/// use http::{Request, Response};
/// use tower::{ServiceExt, service_fn};
/// use tower_ops_observe::PeerService;
///
/// let app = service_fn(async |_: Request<()>| Ok::<_, std::io::Error>(Response::new(())));
/// // for each connection that is accepted:
/// let peer: SocketAddr = ([127, 0, 0, 1], 50_000).into();
/// let service = PeerService::new(app, peer);
/// # service.oneshot(Request::new(())).await.unwrap();
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PeerService<S> {
    inner: S,
    peer: SocketAddr,
}

impl<S> PeerService<S> {
    /// `inner` serves the connection of `peer`.
    #[must_use]
    pub const fn new(inner: S, peer: SocketAddr) -> Self {
        Self { inner, peer }
    }
}

impl<S, R> Service<R> for PeerService<S>
where
    S: Service<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = PeerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let _scope = Scope::enter(self.peer);
        PeerFuture {
            inner: self.inner.call(request),
            peer: self.peer,
        }
    }
}

pin_project! {
    /// The future of a [`PeerService`].
    pub struct PeerFuture<F> {
        #[pin]
        inner: F,
        peer: SocketAddr,
    }
}

impl<F: Future> Future for PeerFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // Routers call what is further in only when they are polled.
        let _scope = Scope::enter(*this.peer);
        this.inner.poll(cx)
    }
}

impl<F> fmt::Debug for PeerFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerFuture")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
