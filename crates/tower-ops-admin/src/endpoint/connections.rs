use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::endpoint::incidents::Incidents;

/// Probes and scrapers are few. Beyond this, the oldest connection that has not sent a whole head
/// is closed or, if there is none, the one that has been reading its answer for longest.
pub(super) const MAX_CONNECTIONS: usize = 256;

/// How many answers are being sent at once. Each may be held in memory as a whole, and a client
/// that does not read keeps it there at no cost of its own.
pub(super) const MAX_SENDING: usize = 128;

/// For so long a connection that has sent nothing may have a prober behind it whose request was not
/// looked at yet: those that only read give way before it.
const FRESH: Duration = Duration::from_millis(250);

/// The connections of the endpoint: how many are open, which have not sent a whole head, and which
/// only have to read their answer.
#[derive(Clone)]
pub(super) struct Connections {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    fewer: Notify,
}

struct Inner {
    open: HashMap<u64, Entry>,
    next: u64,
    /// Those without a whole head; the least number is the oldest.
    waiting: BTreeSet<u64>,
    /// Those whose answer was made, in the order in which that happened.
    sending: BTreeMap<u64, u64>,
    incidents: Incidents,
}

struct Entry {
    opened: Instant,
    /// Ends it: known once its task was spawned.
    handle: Option<AbortHandle>,
    /// Its key in `sending`.
    sending: Option<u64>,
}

impl Inner {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.open.remove(&id)?;
        self.waiting.remove(&id);
        if let Some(key) = entry.sending {
            self.sending.remove(&key);
        }
        Some(entry)
    }

    /// Closes the connection to make room. It no longer counts from then on.
    fn evict(&mut self, id: u64) {
        if let Some(Entry { handle, .. }) = self.remove(id) {
            if let Some(handle) = handle {
                handle.abort();
            }
            self.incidents.evicted();
        }
    }
}

impl Connections {
    pub(super) fn new(incidents: Incidents) -> Self {
        let inner = Inner {
            open: HashMap::new(),
            next: 0,
            waiting: BTreeSet::new(),
            sending: BTreeMap::new(),
            incidents,
        };
        Self {
            shared: Arc::new(Shared {
                inner: Mutex::new(inner),
                fewer: Notify::new(),
            }),
        }
    }

    /// Locked for a few instructions; only the endpoint's own thread does.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        let inner = self.shared.inner.lock();
        inner.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self) -> Open {
        let mut inner = self.inner();
        let id = inner.number();
        let entry = Entry {
            opened: Instant::now(),
            handle: None,
            sending: None,
        };
        inner.open.insert(id, entry);
        inner.waiting.insert(id);
        drop(inner);
        Open {
            connections: self.clone(),
            id,
        }
    }

    /// How the connection can be ended.
    pub(super) fn ended_by(&self, id: u64, handle: AbortHandle) {
        if let Some(entry) = self.inner().open.get_mut(&id) {
            entry.handle = Some(handle);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.inner().open.len() >= MAX_CONNECTIONS
    }

    /// Closes the oldest connection that has not sent a whole head or, if that is [younger](FRESH)
    /// or there is none, the one that has been reading its answer for longest; `false` if all are
    /// waiting for theirs. Its descriptor is free when its task had a turn: see
    /// [`fewer`](Self::fewer).
    pub(super) fn evict_oldest(&self) -> bool {
        let mut inner = self.inner();
        let waits = inner.waiting.first().copied();
        let reads = inner.sending.values().next().copied();
        let is_fresh = |id| {
            let entry: Option<&Entry> = inner.open.get(&id);
            entry.is_some_and(|entry| entry.opened.elapsed() < FRESH)
        };
        let Some(id) = waits.filter(|id| !is_fresh(*id)).or(reads).or(waits) else {
            return false;
        };
        inner.evict(id);
        true
    }

    pub(super) fn accept_failed(&self, error: &std::io::Error, is_shortage: bool) {
        self.inner().incidents.accept_failed(error, is_shortage);
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

    /// From now on it is not closed to make room, until it has its answer.
    pub(super) fn has_head(&self) {
        self.connections.inner().waiting.remove(&self.id);
    }

    /// Its answer was made and is to be sent: from now on it may be closed to make room again.
    pub(super) fn has_answer(&self) {
        let mut inner = self.connections.inner();
        let key = inner.number();
        let Some(entry) = inner.open.get_mut(&self.id) else {
            return;
        };
        entry.sending = Some(key);
        inner.sending.insert(key, self.id);
        if inner.sending.len() > MAX_SENDING
            && let Some(oldest) = inner.sending.values().next().copied()
        {
            inner.evict(oldest);
        }
        drop(inner);
        // The accept loop may wait for a connection that it may close.
        self.connections.shared.fewer.notify_one();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.inner().remove(self.id);
        self.connections.shared.fewer.notify_one();
    }
}
