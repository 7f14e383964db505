use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use tokio::sync::Notify;

use crate::clock::{from_micros, micros};
use crate::metrics::ListenerMetrics;
use crate::shared::Shared;
use crate::stall::Stall;
use crate::state::State;
use crate::{CloseReason, Connection, Peer, Protocol};

/// What is known of one connection.
///
/// Its I/O and its service write here with plain stores: one task owns them. The
/// reaper and whoever asks only read, but for the state and the windows of stalls.
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) peer: Peer,
    /// Since the clock's beginning.
    pub(crate) opened: Duration,
    /// In microseconds; zero if there is no limit.
    max_age: u64,
    pub(crate) shared: Arc<Shared>,
    pub(crate) listener: Arc<ListenerMetrics>,
    pub(crate) state: State,
    protocol: AtomicU8,
    flags: Flags,
    exchanges: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    /// When the first byte of a head came that is not complete; zero if there is
    /// none. All times are in microseconds.
    head_begun: AtomicU64,
    /// When the last exchange ended; at first, when the connection began.
    idle_since: AtomicU64,
    /// When the last byte went; kept only where that decides.
    last_byte: AtomicU64,
    closing_since: AtomicU64,
    pub(crate) writing: Stall,
    pub(crate) reading: Stall,
    /// Wakes the task that reads.
    pub(crate) reader: AtomicWaker,
    /// Wakes whoever waits for the connection to close.
    pub(crate) closing: Notify,
    /// Of the bytes, what the metrics have been told.
    pub(crate) told_read: AtomicU64,
    pub(crate) told_written: AtomicU64,
}

/// Said once, never taken back.
#[derive(Default)]
struct Flags {
    driven: AtomicBool,
    served: AtomicBool,
}

impl Record {
    pub(crate) fn new(
        id: u64,
        peer: Peer,
        opened: Duration,
        max_age: Option<Duration>,
        shared: Arc<Shared>,
        listener: Arc<ListenerMetrics>,
    ) -> Self {
        let now = micros(opened);
        Self {
            id,
            peer,
            opened,
            max_age: max_age.map_or(0, |limit| micros(limit).max(1)),
            shared,
            listener,
            state: State::default(),
            protocol: AtomicU8::new(0),
            flags: Flags::default(),
            exchanges: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            head_begun: AtomicU64::new(0),
            idle_since: AtomicU64::new(now),
            last_byte: AtomicU64::new(now),
            closing_since: AtomicU64::new(0),
            writing: Stall::default(),
            reading: Stall::default(),
            reader: AtomicWaker::new(),
            closing: Notify::new(),
            told_read: AtomicU64::new(0),
            told_written: AtomicU64::new(0),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.shared.clock.now()
    }

    pub(crate) fn max_age(&self) -> Option<Duration> {
        (self.max_age != 0).then(|| from_micros(self.max_age))
    }

    pub(crate) fn protocol(&self) -> Protocol {
        Protocol::from_index(self.protocol.load(Ordering::Relaxed))
    }

    pub(crate) fn is_driven(&self) -> bool {
        self.flags.driven.load(Ordering::Relaxed)
    }

    pub(crate) fn set_driven(&self) {
        self.flags.driven.store(true, Ordering::Relaxed);
    }

    /// Whether a service tells of the exchanges.
    pub(crate) fn is_served(&self) -> bool {
        self.flags.served.load(Ordering::Relaxed) || self.shared.layered.load(Ordering::Relaxed)
    }

    pub(crate) fn set_served(&self) {
        self.flags.served.store(true, Ordering::Relaxed);
    }

    pub(crate) fn exchanges(&self) -> u64 {
        self.exchanges.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Relaxed)
    }

    /// Whether the time of each byte is worth a look at the clock.
    fn keeps_bytes(&self) -> bool {
        !self.is_served() || self.protocol() == Protocol::Upgraded
    }

    fn note_byte(&self) {
        self.last_byte.store(micros(self.now()), Ordering::Relaxed);
    }

    pub(crate) fn add_read(&self, bytes: usize) {
        add(&self.bytes_read, bytes);
        if self.keeps_bytes() {
            self.note_byte();
        }
        let idle = !self.state.seen().is_busy();
        let http1 = matches!(self.protocol(), Protocol::Unknown | Protocol::Http1);
        if idle && http1 && self.head_begun.load(Ordering::Relaxed) == 0 {
            let now = micros(self.now()).max(1);
            self.head_begun.store(now, Ordering::Relaxed);
        }
    }

    pub(crate) fn add_written(&self, bytes: usize) {
        add(&self.bytes_written, bytes);
        if self.keeps_bytes() {
            self.note_byte();
        }
    }

    pub(crate) fn head_begun(&self) -> Option<Duration> {
        let begun = self.head_begun.load(Ordering::Relaxed);
        (begun != 0).then(|| from_micros(begun))
    }

    pub(crate) fn idle_since(&self) -> Duration {
        from_micros(self.idle_since.load(Ordering::Relaxed))
    }

    pub(crate) fn last_byte(&self) -> Duration {
        from_micros(self.last_byte.load(Ordering::Relaxed))
    }

    pub(crate) fn is_write_blocked(&self) -> bool {
        self.writing.is_waiting()
    }

    pub(crate) fn closing_since(&self) -> Duration {
        from_micros(self.closing_since.load(Ordering::Relaxed))
    }
}

/// What moves a connection on, and is told to whoever listens.
impl Connection {
    /// Sets what is spoken; does nothing if that is known.
    pub(crate) fn set_protocol(&self, protocol: Protocol) {
        let record = &*self.record;
        let before = record.protocol();
        // The I/O and the service may both learn it, on one task. What an upgrade
        // led to stays.
        if before == protocol || before == Protocol::Upgraded {
            return;
        }
        record.protocol.store(protocol as u8, Ordering::Relaxed);
        if protocol != Protocol::Http1 {
            record.head_begun.store(0, Ordering::Relaxed);
        }
        if protocol == Protocol::Upgraded {
            record.note_byte();
        }
        record.listener.change_protocol(before, protocol);
        record.shared.tell_protocol(self);
    }

    /// An exchange begins: its head is complete.
    pub(crate) fn begin(&self) {
        let record = &*self.record;
        // One task serves HTTP/1, but HTTP/2 has one for each stream.
        let number = record.exchanges.fetch_add(1, Ordering::Relaxed) + 1;
        record.head_begun.store(0, Ordering::Relaxed);
        let before = record.state.begin();
        let most = record.shared.limits.max_requests;
        if most.is_some_and(|most| number >= most) {
            self.request_close(CloseReason::MaxRequests);
        }
        if record.shared.has_events() && !before.is_busy() {
            record.shared.tell_busy(self);
        }
    }

    /// An exchange is over, or what held the connection.
    pub(crate) fn end(&self) {
        let record = &*self.record;
        // Before the count: nobody may see it idle since an earlier exchange.
        record
            .idle_since
            .store(micros(record.now()), Ordering::Relaxed);
        let left = record.state.end();
        if left.is_busy() {
            return;
        }
        if !left.is_open() {
            // They wait for the end of the last exchange.
            record.reader.wake();
            record.closing.notify_waiters();
        }
        if record.shared.has_events() {
            record.shared.tell_idle(self);
        }
    }

    /// Closes for idleness, if nothing is in flight.
    pub(crate) fn close_idle(&self) -> bool {
        self.record.state.close_idle() && self.tell_closing(CloseReason::Idle)
    }

    /// Closes in order. Whether nobody had before.
    pub(crate) fn request_close(&self, reason: CloseReason) -> bool {
        self.record.state.close(reason) && self.tell_closing(reason)
    }

    fn tell_closing(&self, reason: CloseReason) -> bool {
        let record = &*self.record;
        record
            .closing_since
            .store(micros(record.now()), Ordering::Relaxed);
        record.reader.wake();
        record.closing.notify_waiters();
        record.shared.tell_closing(self, reason);
        true
    }

    /// Ends it now, after a close was asked for.
    pub(crate) fn force(&self) {
        if self.record.state.force() {
            self.record.reader.wake();
            self.record.closing.notify_waiters();
        }
    }
}

/// One task adds, so that no read-modify-write is needed.
fn add(counter: &AtomicU64, bytes: usize) {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    let sum = counter.load(Ordering::Relaxed).wrapping_add(bytes);
    counter.store(sum, Ordering::Relaxed);
}
