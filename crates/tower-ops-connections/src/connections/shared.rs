use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::Histogram;
use tokio::sync::{Notify, Semaphore};

use crate::clock::{Clock, micros};
use crate::close::drain::Lost;
use crate::close::limits::Limits;
use crate::close::reaper::STEPS;
use crate::connections::duty::Duty;
use crate::connections::shards::Shards;
use crate::connections::watched::Watched;
use crate::metrics::{ListenerMetrics, Sink};
use crate::record::Record;
use crate::{CloseReason, Connection, ConnectionEvent, Peer, RejectReason};

pub(crate) type OnEvent = Arc<dyn Fn(&ConnectionEvent<'_>) + Send + Sync>;

/// What all handles, connections and the reaper share.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) shards: Shards,
    next_id: AtomicU64,
    open: AtomicUsize,
    /// One permit for each connection that there may be.
    pub(crate) room: Option<Arc<Semaphore>>,
    per_ip: Mutex<HashMap<IpAddr, usize>>,
    pub(crate) draining: AtomicBool,
    /// A connection has ended.
    pub(crate) ended: Notify,
    pub(crate) reaper: Arc<Duty>,
    on_event: Option<OnEvent>,
    pub(crate) sink: Sink,
    /// One for each name; there are as many as the program has listeners.
    listeners: Mutex<HashMap<String, Arc<ListenerMetrics>>>,
    pub(crate) pass: Histogram,
    jitter: RandomState,
    pub(crate) warned_untracked: AtomicBool,
    pub(crate) watched: Watched,
    /// A layer notes the exchanges of tonic's connections, also of those that had none
    /// yet.
    #[cfg(feature = "tonic")]
    pub(crate) layered: AtomicBool,
    pub(crate) lost: Mutex<Lost>,
}

/// Counts a connection of an address, until it is dropped.
pub(crate) struct PerIp {
    shared: Arc<Shared>,
    network: IpAddr,
}

impl Shared {
    pub(crate) fn new(limits: Limits, on_event: Option<OnEvent>, sink: Sink) -> Self {
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
            reaper: Arc::default(),
            on_event,
            pass: sink.pass(),
            sink,
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
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(listener) = listeners.get(name) {
            return Arc::clone(listener);
        }
        let listener = Arc::new(self.sink.listener(name, listeners.len()));
        listeners.insert(name.to_owned(), Arc::clone(&listener));
        listener
    }

    pub(crate) fn listeners(&self) -> Vec<Arc<ListenerMetrics>> {
        let listeners = self.listeners.lock();
        let listeners = listeners.unwrap_or_else(PoisonError::into_inner);
        listeners.values().cloned().collect()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Lists a new connection; with its place in the list.
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
        let look = self
            .limits
            .next_look(&connection.record, connection.record.opened);
        // Before anybody else can find it, and publish more of it.
        self.publish_of(&connection, ConnectionEvent::Opened);
        let key = self.shards.insert(connection.clone(), micros(look));
        // After it is registered: a drain that began before has looked already.
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
            // The reaper says it as well, unless its runtime is gone.
            for listener in self.listeners() {
                listener.idle.set(0.0);
            }
        }
        self.ended.notify_waiters();
        if self.has_events() && record.events.close() {
            self.publish_closed(connection);
        }
    }

    fn publish_closed(&self, connection: &Connection) {
        self.publish(|| ConnectionEvent::Closed {
            connection,
            reason: connection.close_reason().unwrap_or(CloseReason::Error),
            age: connection.age(),
        });
    }

    /// Tells of a connection that is not closed.
    fn publish_of<'a>(
        &self,
        connection: &'a Connection,
        event: impl FnOnce(&'a Connection) -> ConnectionEvent<'a>,
    ) {
        let gate = &connection.record.events;
        if self.has_events() && gate.enter() {
            self.publish(|| event(connection));
            if gate.leave() {
                self.publish_closed(connection);
            }
        }
    }

    /// The age at which this connection is old: spread, so that those that came
    /// together do not leave together.
    fn spread(&self, age: Duration, id: u64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "any fraction will do")]
        let fraction = self.jitter.hash_one(id) as f64 / u64::MAX as f64;
        let part = 1.0 + self.limits.max_age_jitter * (2.0 * fraction - 1.0);
        Duration::try_from_secs_f64(age.as_secs_f64() * part).unwrap_or(Duration::MAX)
    }

    /// A place for one more connection of that peer, unless it has enough.
    pub(crate) fn reserve_for(self: &Arc<Self>, peer: Peer) -> Result<Option<PerIp>, RejectReason> {
        let (Some(most), Some(network)) = (self.limits.max_per_ip, peer.network()) else {
            return Ok(None);
        };
        let mut counts = self.per_ip.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(network).or_insert(0);
        if *count >= most {
            return Err(RejectReason::MaxPerIp);
        }
        *count += 1;
        Ok(Some(PerIp {
            shared: Arc::clone(self),
            network,
        }))
    }

    pub(crate) fn reject(&self, listener: &ListenerMetrics, peer: Peer, reason: RejectReason) {
        listener.rejected(reason);
        self.publish(|| ConnectionEvent::Rejected(peer, reason));
    }

    pub(crate) const fn has_events(&self) -> bool {
        self.on_event.is_some()
    }

    /// Tells who listens; a panic there is reported, and harms nothing else.
    fn publish<'a>(&self, event: impl FnOnce() -> ConnectionEvent<'a>) {
        let Some(on_event) = &self.on_event else {
            return;
        };
        let event = event();
        if catch_unwind(AssertUnwindSafe(|| on_event(&event))).is_err() {
            tracing::error!("the callback for the events of connections panicked");
        }
    }

    pub(crate) fn publish_protocol(&self, connection: &Connection) {
        self.publish_of(connection, ConnectionEvent::Protocol);
    }

    pub(crate) fn publish_busy(&self, connection: &Connection) {
        self.publish_of(connection, ConnectionEvent::Busy);
    }

    pub(crate) fn publish_idle(&self, connection: &Connection) {
        self.publish_of(connection, ConnectionEvent::Idle);
    }

    pub(crate) fn publish_closing(&self, connection: &Connection, reason: CloseReason) {
        self.publish_of(connection, |it| ConnectionEvent::Closing(it, reason));
    }
}

impl Drop for PerIp {
    fn drop(&mut self) {
        let mut counts = self
            .shared
            .per_ip
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            // The map must not grow with every address that ever came.
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}
