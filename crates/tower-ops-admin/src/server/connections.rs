use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tower_ops_core::sync::Mutex;

use crate::server::incidents::Incidents;

/// Probes and scrapers are few. Beyond this, the oldest connection that has not sent a whole head
/// is closed or, if there is none, the one that has been reading its answer for longest.
const MAX_CONNECTIONS: usize = 256;

/// How many answers are being sent at once. Each may be held in memory as a whole, and a client
/// that does not read keeps it there at no cost of its own.
const MAX_SENDING: usize = 128;

/// How long a connection counts as new. It may have a prober behind it whose request was not looked
/// at yet: connections that only read their answer are closed before it.
const NEW: Duration = Duration::from_millis(250);

/// The open connections: which have not sent a whole head, and which only have to read their
/// answer.
#[derive(Clone)]
pub(super) struct Connections {
    shared: Arc<Shared>,
}

struct Shared {
    /// Held for a few instructions, and only by the server's own thread.
    table: Mutex<Table>,
    fewer: Notify,
}

struct Table {
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
    /// Ends the connection. Known once its task was spawned.
    handle: Option<AbortHandle>,
    /// Its key in `sending`.
    sending: Option<u64>,
}

impl Table {
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
        let table = Table {
            open: HashMap::new(),
            next: 0,
            waiting: BTreeSet::new(),
            sending: BTreeMap::new(),
            incidents,
        };
        Self {
            shared: Arc::new(Shared {
                table: Mutex::new(table),
                fewer: Notify::new(),
            }),
        }
    }

    pub(super) fn open(&self) -> Open {
        let mut table = self.shared.table.lock();
        let id = table.number();
        let entry = Entry {
            opened: Instant::now(),
            handle: None,
            sending: None,
        };
        table.open.insert(id, entry);
        table.waiting.insert(id);
        drop(table);
        Open {
            connections: self.clone(),
            id,
        }
    }

    /// Sets what ends the connection.
    pub(super) fn ended_by(&self, id: u64, handle: AbortHandle) {
        if let Some(entry) = self.shared.table.lock().open.get_mut(&id) {
            entry.handle = Some(handle);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.shared.table.lock().open.len() >= MAX_CONNECTIONS
    }

    /// Closes the oldest connection that has not sent a whole head or, if that is [new](NEW) or
    /// there is none, the one that has been reading its answer for longest. Returns `false` if all
    /// are waiting for their answer. The descriptor is free once its task had a turn: see
    /// [`fewer`](Self::fewer).
    pub(super) fn evict_oldest(&self) -> bool {
        let mut table = self.shared.table.lock();
        let waits = table.waiting.first().copied();
        let reads = table.sending.values().next().copied();
        let is_new = |id| {
            let entry: Option<&Entry> = table.open.get(&id);
            entry.is_some_and(|entry| entry.opened.elapsed() < NEW)
        };
        let Some(id) = waits.filter(|id| !is_new(*id)).or(reads).or(waits) else {
            return false;
        };
        table.evict(id);
        true
    }

    pub(super) fn accept_failed(&self, error: &std::io::Error, is_shortage: bool) {
        let mut table = self.shared.table.lock();
        table.incidents.accept_failed(error, is_shortage);
    }

    /// Waits until a connection has ended. One task may wait.
    pub(super) async fn fewer(&self) {
        self.shared.fewer.notified().await;
    }

    /// Waits until no connection that has sent a whole head is left: each has read its answer. One
    /// task may wait, once nothing is accepted any more.
    pub(super) async fn all_answered(&self) {
        let is_answered = || {
            let table = self.shared.table.lock();
            table.open.len() == table.waiting.len()
        };
        // A notification between the look and the wait is kept.
        while !is_answered() {
            self.fewer().await;
        }
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

    /// Its head is complete: it is not closed to make room until it has its answer.
    pub(super) fn has_head(&self) {
        let shared = &self.connections.shared;
        shared.table.lock().waiting.remove(&self.id);
    }

    /// Its answer was made and is to be sent: it may be closed to make room again.
    pub(super) fn has_answer(&self) {
        let shared = &self.connections.shared;
        let mut table = shared.table.lock();
        let key = table.number();
        let Some(entry) = table.open.get_mut(&self.id) else {
            return;
        };
        entry.sending = Some(key);
        table.sending.insert(key, self.id);
        if table.sending.len() > MAX_SENDING
            && let Some(oldest) = table.sending.values().next().copied()
        {
            table.evict(oldest);
        }
        drop(table);
        // The accept loop may wait for a connection that it may close.
        shared.fewer.notify_one();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let shared = &self.connections.shared;
        shared.table.lock().remove(self.id);
        shared.fewer.notify_one();
    }
}
