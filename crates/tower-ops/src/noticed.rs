use std::io;

use tower_ops_connections::{Listener, Peer};
use tower_ops_lifecycle::Activity;

/// A listener that says when a connection came, for
/// [`wait_for_quiet`](tower_ops_lifecycle::LifecycleBuilder::wait_for_quiet).
#[derive(Debug)]
pub(crate) struct Noticed<L> {
    pub(crate) listener: L,
    pub(crate) activity: Activity,
}

impl<L: Listener> Listener for Noticed<L> {
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
