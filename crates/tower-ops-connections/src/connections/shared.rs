use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ::metrics::Histogram;
use tokio::sync::{Notify, Semaphore};
use tower_ops_core::recorder::RecorderHandle;
use tower_ops_core::sync::Mutex;

use crate::clock::{Clock, micros};
use crate::close::drain::Lost;
use crate::close::judge::View;
use crate::close::reaper::{Reapers, STEPS};
use crate::connections::limits::Limits;
use crate::connections::shards::Shards;
use crate::connections::watched::Watched;
use crate::event::{Events, OnEvent};
use crate::metrics::{self, ListenerMetrics};
use crate::record::Record;
use crate::{CloseReason, Connection, ConnectionEvent, Peer};

/// The state behind all handles, connections and reapers.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) shards: Shards,
    next_id: AtomicU64,
    open: AtomicUsize,
    /// One permit for each connection under `max_connections`.
    pub(crate) room: Option<Arc<Semaphore>>,
    pub(crate) per_ip: Mutex<HashMap<IpAddr, usize>>,
    pub(crate) draining: AtomicBool,
    /// Notified when a connection has ended.
    pub(crate) ended: Notify,
    pub(crate) reapers: Mutex<Reapers>,
    pub(crate) events: Events,
    recorder: RecorderHandle,
    /// By name. The names come from the program, so that their number is bounded.
    listeners: Mutex<HashMap<String, Arc<ListenerMetrics>>>,
    pub(crate) pass: Histogram,
    jitter: RandomState,
    pub(crate) warned_untracked: AtomicBool,
    pub(crate) watched: Watched,
    /// There is a layer for tonic, which tracks the exchanges of its connections.
    #[cfg(feature = "tonic")]
    pub(crate) layered: AtomicBool,
    pub(crate) lost: Mutex<Lost>,
}

impl Shared {
    pub(crate) fn new(limits: Limits, on_event: Option<OnEvent>, recorder: RecorderHandle) -> Self {
        Self {
            room: limits
                .max_connections
                .map(|most| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)))),
            clock: Clock::new(limits.pass() / STEPS),
            limits,
            shards: Shards::new(),
            next_id: AtomicU64::new(1),
            open: AtomicUsize::new(0),
            per_ip: Mutex::default(),
            draining: AtomicBool::new(false),
            ended: Notify::new(),
            reapers: Mutex::default(),
            events: Events(on_event),
            pass: metrics::pass(&recorder),
            recorder,
            listeners: Mutex::default(),
            jitter: RandomState::new(),
            warned_untracked: AtomicBool::new(false),
            watched: Watched::default(),
            #[cfg(feature = "tonic")]
            layered: AtomicBool::new(false),
            lost: Mutex::default(),
        }
    }

    pub(crate) fn listener(&self, name: &str) -> Arc<ListenerMetrics> {
        let mut listeners = self.listeners.lock();
        if let Some(listener) = listeners.get(name) {
            return Arc::clone(listener);
        }
        let listener = ListenerMetrics::register(&self.recorder, name, listeners.len());
        let listener = Arc::new(listener);
        listeners.insert(name.to_owned(), Arc::clone(&listener));
        listener
    }

    pub(crate) fn listeners(&self) -> Vec<Arc<ListenerMetrics>> {
        self.listeners.lock().values().cloned().collect()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Registers a new connection. Returns it with its key in the shard.
    pub(crate) fn insert(
        self: &Arc<Self>,
        peer: Peer,
        listener: &Arc<ListenerMetrics>,
    ) -> (Connection, usize) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let max_age = self.limits.max_age.map(|age| self.spread(age, id));
        let record = Arc::new(Record::new(
            id,
            peer,
            self.clock.stamp(),
            max_age,
            Arc::clone(self),
            Arc::clone(listener),
        ));
        self.open.fetch_add(1, Ordering::AcqRel);
        listener.opened();
        let connection = Connection { record };
        let opened = connection.record.opened;
        let view = View::of(&connection.record, &self.limits, opened);
        let look = self.limits.next_look(&view, opened);
        // Before other threads can find the connection and publish other events of it.
        self.events.publish(&connection, ConnectionEvent::Opened);
        let key = self.shards.insert(connection.clone(), micros(look));
        // After the insertion: a drain that began before it has not found this connection.
        if self.is_draining() {
            connection.request_close(CloseReason::Drain);
        }
        (connection, key)
    }

    pub(crate) fn remove(&self, connection: &Connection, key: usize, reason: CloseReason) {
        let record = &connection.record;
        drop(self.shards.remove(record.id, key));
        record.end_protocol();
        record.listener.closed(record, reason, connection.age());
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The reaper does this as well, unless its runtime is gone.
            for listener in self.listeners() {
                listener.idle.set(0.0);
            }
        }
        self.ended.notify_waiters();
        self.events.close(connection);
    }

    /// Returns the maximum age of this connection: spread, so that connections that were opened
    /// together are not closed together.
    fn spread(&self, age: Duration, id: u64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "any fraction will do")]
        let fraction = self.jitter.hash_one(id) as f64 / u64::MAX as f64;
        let part = 1.0 + self.limits.max_age_jitter * (2.0 * fraction - 1.0);
        Duration::try_from_secs_f64(age.as_secs_f64() * part).unwrap_or(Duration::MAX)
    }
}
