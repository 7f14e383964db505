use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::Instant;

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
///
/// In this order: what the reaper looks at comes first, in two cache lines. At a
/// million connections, each further one costs more than all the judging.
#[repr(C)]
pub(crate) struct Record {
    pub(crate) state: State,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    /// Of the bytes, what the metrics have been told.
    told_read: AtomicU64,
    told_written: AtomicU64,
    protocol: AtomicU8,
    flags: Flags,
    /// When the first byte of a head came that is not complete; zero if there is
    /// none. All times are in microseconds.
    head_begun: AtomicU64,
    /// When the last exchange ended; at first, when the connection began.
    idle_since: AtomicU64,
    /// Zero if there is no limit.
    max_age: u64,
    pub(crate) opened: Duration,
    pub(crate) writing: Stall,
    pub(crate) reading: Stall,
    pub(crate) listener: Arc<ListenerMetrics>,
    /// When the last byte went; kept only where that decides.
    last_byte: AtomicU64,
    closing_since: AtomicU64,
    exchanges: AtomicU64,
    /// By the system's clock, for whoever asks.
    pub(crate) opened_at: Instant,
    pub(crate) id: u64,
    pub(crate) peer: Peer,
    pub(crate) shared: Arc<Shared>,
    /// Wakes the task that reads, and below the one that writes: after an upgrade
    /// these may be two.
    pub(crate) reader: AtomicWaker,
    pub(crate) writer: AtomicWaker,
    /// Wakes the task that owns the connection's future, if that can close it.
    pub(crate) driver: AtomicWaker,
    /// Wakes whoever waits for the connection to close.
    pub(crate) closing: Notify,
}

/// Said once, never taken back.
#[derive(Default)]
struct Flags {
    driven: AtomicBool,
    tls: AtomicBool,
    served: AtomicBool,
}

impl Record {
    pub(crate) fn new(
        id: u64,
        peer: Peer,
        opened: u64,
        max_age: Option<Duration>,
        shared: Arc<Shared>,
        listener: Arc<ListenerMetrics>,
    ) -> Self {
        Self {
            id,
            peer,
            opened: from_micros(opened),
            opened_at: Instant::now(),
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
            idle_since: AtomicU64::new(opened),
            last_byte: AtomicU64::new(opened),
            closing_since: AtomicU64::new(0),
            writing: Stall::default(),
            reading: Stall::default(),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            driver: AtomicWaker::new(),
            closing: Notify::new(),
            told_read: AtomicU64::new(0),
            told_written: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(crate) fn stamp(&self) -> u64 {
        self.shared.clock.stamp()
    }

    pub(crate) fn max_age(&self) -> Option<Duration> {
        (self.max_age != 0).then(|| from_micros(self.max_age))
    }

    #[inline]
    pub(crate) fn protocol(&self) -> Protocol {
        Protocol::from_index(self.protocol.load(Ordering::Relaxed))
    }

    pub(crate) fn is_driven(&self) -> bool {
        self.flags.driven.load(Ordering::Relaxed)
    }

    #[cfg(feature = "hyper-util")]
    pub(crate) fn set_driven(&self) {
        // Once: what is driven is taken by value.
        self.flags.driven.store(true, Ordering::Relaxed);
        self.listener.native.increment(1.0);
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.flags.tls.load(Ordering::Relaxed)
    }

    #[cfg(feature = "tls")]
    pub(crate) fn set_tls(&self) {
        self.flags.tls.store(true, Ordering::Relaxed);
    }

    /// Whether a service tells of the exchanges.
    #[inline]
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

    /// How many bytes came and went since this was last asked. Asked by whoever
    /// holds the record: the reaper while it is listed, its I/O when it is not.
    pub(crate) fn news(&self) -> (u64, u64) {
        let since = |now: u64, told: &AtomicU64| {
            let news = now.wrapping_sub(told.load(Ordering::Relaxed));
            if news > 0 {
                told.store(now, Ordering::Relaxed);
            }
            news
        };
        (
            since(self.bytes_read(), &self.told_read),
            since(self.bytes_written(), &self.told_written),
        )
    }

    /// Whether the time of each byte is worth a look at the clock.
    #[inline]
    pub(crate) fn keeps_bytes(&self) -> bool {
        !self.is_served() || self.protocol() == Protocol::Upgraded
    }

    fn note_byte(&self) {
        self.last_byte.store(self.stamp(), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn add_read(&self, bytes: usize) {
        add(&self.bytes_read, bytes);
        if self.keeps_bytes() {
            self.note_byte();
        }
        let idle = !self.state.seen().is_busy();
        let http1 = matches!(self.protocol(), Protocol::Unknown | Protocol::Http1);
        if idle && http1 && self.head_begun.load(Ordering::Relaxed) == 0 {
            let now = self.stamp();
            self.head_begun.store(now, Ordering::Relaxed);
        }
    }

    #[inline]
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

    #[inline]
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
    #[inline]
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
    #[inline]
    pub(crate) fn end(&self) {
        let record = &*self.record;
        // Before the count: nobody may see it idle since an earlier exchange.
        record.idle_since.store(record.stamp(), Ordering::Relaxed);
        let left = record.state.end();
        if left.is_busy() {
            return;
        }
        if !left.is_open() {
            // They wait for the end of the last exchange.
            self.wake();
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
            .store(record.stamp(), Ordering::Relaxed);
        self.wake();
        record.shared.tell_closing(self, reason);
        true
    }

    /// Ends it now, after a close was asked for.
    pub(crate) fn force(&self) {
        if self.record.state.force() {
            self.wake();
        }
    }

    /// As [`force`](Self::force), unless an exchange has begun meanwhile.
    pub(crate) fn force_unless_busy(&self) {
        if self.record.state.force_unless_busy() {
            self.wake();
        }
    }

    /// Has whoever carries a close out look at how far it is.
    pub(crate) fn wake(&self) {
        let record = &*self.record;
        record.reader.wake();
        record.writer.wake();
        record.driver.wake();
        record.closing.notify_waiters();
    }
}

/// One task adds, so that no read-modify-write is needed.
#[inline]
fn add(counter: &AtomicU64, bytes: usize) {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    let sum = counter.load(Ordering::Relaxed).wrapping_add(bytes);
    counter.store(sum, Ordering::Relaxed);
}
