use std::io;

use tower_ops_connections::{Listener, Peer};
use tower_ops_lifecycle::Activity;

/// A listener that records when a connection came, for
/// [`wait_for_quiet`](tower_ops_lifecycle::LifecycleBuilder::wait_for_quiet). Part of the listener
/// that [`Ops::listener`](crate::Ops::listener) returns.
#[derive(Debug)]
pub struct ActivityListener<L> {
    listener: L,
    activity: Activity,
}

impl<L> ActivityListener<L> {
    pub(crate) const fn new(listener: L, activity: Activity) -> Self {
        Self { listener, activity }
    }
}

impl<L: Listener> Listener for ActivityListener<L> {
    type Io = L::Io;

    async fn next(&mut self) -> io::Result<(Self::Io, Peer)> {
        let accepted = self.listener.next().await?;
        self.activity.touch();
        Ok(accepted)
    }

    fn address(&self) -> String {
        self.listener.address()
    }
}

#[cfg(feature = "axum")]
impl<L: axum::serve::Listener> axum::serve::Listener for ActivityListener<L> {
    type Io = L::Io;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (L::Io, L::Addr) {
        let accepted = self.listener.accept().await;
        self.activity.touch();
        accepted
    }

    fn local_addr(&self) -> io::Result<L::Addr> {
        self.listener.local_addr()
    }
}
