use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Probes and scrapers are few; whoever opens more loses the oldest that has not asked anything.
pub(super) const MAX_CONNECTIONS: usize = 256;

/// The connections of the endpoint: how many are open, and which have not sent a whole head.
#[derive(Clone, Default)]
pub(super) struct Connections {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    fewer: Notify,
}

#[derive(Default)]
struct Inner {
    open: HashSet<u64>,
    next: u64,
    /// Those without a whole head, the oldest first.
    waiting: BTreeMap<u64, Option<AbortHandle>>,
}

impl Connections {
    /// Locked for a few instructions; only the endpoint's own thread does.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        let inner = self.shared.inner.lock();
        inner.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self) -> Open {
        let mut inner = self.inner();
        inner.next += 1;
        let id = inner.next;
        inner.open.insert(id);
        inner.waiting.insert(id, None);
        drop(inner);
        Open {
            connections: self.clone(),
            id,
        }
    }

    /// How the connection can be ended: known once its task was spawned.
    pub(super) fn ended_by(&self, id: u64, handle: AbortHandle) {
        if let Some(known) = self.inner().waiting.get_mut(&id) {
            *known = Some(handle);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.inner().open.len() >= MAX_CONNECTIONS
    }

    /// Ends the oldest connection that has not sent a whole head, if there is one. It counts no
    /// longer from then on; its descriptor is free when its task had a turn: see
    /// [`fewer`](Self::fewer).
    pub(super) fn evict_oldest(&self) -> bool {
        let mut inner = self.inner();
        let Some((id, handle)) = inner.waiting.pop_first() else {
            return false;
        };
        inner.open.remove(&id);
        drop(inner);
        if let Some(handle) = handle {
            handle.abort();
        }
        true
    }

    /// Waits until a connection has ended. One task may wait.
    pub(super) async fn fewer(&self) {
        self.shared.fewer.notified().await;
    }
}

/// One connection, until it is dropped.
pub(super) struct Open {
    connections: Connections,
    id: u64,
}

impl Open {
    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// From now on it is not ended for others.
    pub(super) fn has_head(&self) {
        self.connections.inner().waiting.remove(&self.id);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut inner = self.connections.inner();
        inner.open.remove(&self.id);
        inner.waiting.remove(&self.id);
        drop(inner);
        self.connections.shared.fewer.notify_one();
    }
}
