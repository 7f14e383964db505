use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::{from_micros, micros};
use crate::event_gate::EventGate;
use crate::http2::Wire;
use crate::meter::Meter;
use crate::metrics::ListenerMetrics;
use crate::shared::Shared;
use crate::stall::{Unread, Unsent};
use crate::state::State;
use crate::watched::ConnectionWatched;
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
    pub(crate) writing: Unread,
    pub(crate) reading: Unsent,
    pub(crate) listener: Arc<ListenerMetrics>,
    pub(crate) http2: Http2Record,
    /// How many exchanges were in flight when the connection broke, or was cut off.
    broken: AtomicU32,
    pub(crate) watched: ConnectionWatched,
    /// When the last byte went; kept only where that decides.
    last_byte: AtomicU64,
    closing_since: AtomicU64,
    exchanges: AtomicU64,
    /// By the system's clock, for whoever asks.
    pub(crate) opened_at: Instant,
    pub(crate) id: u64,
    pub(crate) peer: Peer,
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: EventGate,
    /// Wakes the task that reads, and below the one that writes: after an upgrade
    /// these may be two.
    pub(crate) reader: AtomicWaker,
    pub(crate) writer: AtomicWaker,
    /// Wakes the task that owns the connection's future, if that can close it.
    pub(crate) driver: AtomicWaker,
    /// Wakes whoever waits for the connection to close.
    pub(crate) closing: Notify,
    /// Made when the first response has a body; on HTTP/2 only.
    meter: OnceLock<Box<Meter>>,
}

/// In the word of the protocol: the connection has ended.
const ENDED: u8 = 0x80;

/// Said once, never taken back, but for the last.
#[derive(Default)]
struct Flags {
    driven: AtomicBool,
    tls: AtomicBool,
    served: AtomicBool,
    /// As `served`, if a layer is there.
    #[cfg(feature = "tonic")]
    connect_info: AtomicBool,
    /// TLS that is not ours: bytes show nothing but that they come.
    opaque: AtomicBool,
    /// The frames of HTTP/2 are followed.
    followed: AtomicBool,
    /// What comes may be the rest of a body that nobody read.
    rest_of_body: AtomicBool,
    /// A drain has counted it.
    reported: AtomicBool,
}

/// What the frames of HTTP/2 show. Written by the I/O.
#[derive(Default)]
pub(crate) struct Http2Record {
    open: AtomicU32,
    unanswered: AtomicU32,
    /// When DATA moved last on a stream that is open.
    moved: AtomicU64,
    blocked_since: AtomicU64,
    /// The reaper has the I/O look for streams that have stalled.
    pub(crate) look: AtomicBool,
    /// There was a CONNECT.
    tunnels: AtomicBool,
    /// That something is in flight was announced; of any protocol.
    announced: AtomicBool,
}

impl Http2Record {
    /// How many streams are open.
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// How many of them have no response yet.
    pub(crate) fn unanswered(&self) -> u32 {
        self.unanswered.load(Ordering::Relaxed)
    }

    pub(crate) fn moved(&self) -> Duration {
        from_micros(self.moved.load(Ordering::Relaxed))
    }

    /// Since when a client may have kept a window closed.
    pub(crate) fn blocked_since(&self) -> Option<Duration> {
        let since = self.blocked_since.load(Ordering::Relaxed);
        (since != 0).then(|| from_micros(since))
    }

    /// Whether any stream may be a tunnel or a WebSocket.
    pub(crate) fn has_tunnels(&self) -> bool {
        self.tunnels.load(Ordering::Relaxed)
    }

    pub(crate) fn set_tunnels(&self) {
        self.tunnels.store(true, Ordering::Relaxed);
    }
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
            http2: Http2Record::default(),
            broken: AtomicU32::new(0),
            state: State::default(),
            protocol: AtomicU8::new(0),
            flags: Flags::default(),
            exchanges: AtomicU64::new(0),
            watched: ConnectionWatched::default(),
            bytes_read: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            head_begun: AtomicU64::new(0),
            idle_since: AtomicU64::new(opened),
            last_byte: AtomicU64::new(opened),
            closing_since: AtomicU64::new(0),
            writing: Unread::default(),
            reading: Unsent::default(),
            events: EventGate::default(),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            driver: AtomicWaker::new(),
            closing: Notify::new(),
            meter: OnceLock::new(),
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
        Protocol::from_index(self.protocol.load(Ordering::Relaxed) & !ENDED)
    }

    /// Changes what is spoken, and the gauges with it: not after the end, when they
    /// have been set back.
    fn change_protocol(&self, after: Protocol) -> bool {
        loop {
            let word = self.protocol.load(Ordering::Relaxed);
            let before = Protocol::from_index(word & !ENDED);
            // The I/O and the service may both learn it, on one task. What an upgrade
            // led to stays.
            if word & ENDED != 0 || before == after || before == Protocol::Upgraded {
                return false;
            }
            let changed = self.protocol.compare_exchange(
                word,
                after as u8,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if changed.is_ok() {
                self.listener.change_protocol(before, after);
                return true;
            }
        }
    }

    /// The protocol changes no more.
    pub(crate) fn end_protocol(&self) {
        self.protocol.fetch_or(ENDED, Ordering::Relaxed);
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

    /// Whether a service notes the exchanges.
    #[inline]
    pub(crate) fn is_served(&self) -> bool {
        self.flags.served.load(Ordering::Relaxed) || self.is_layered()
    }

    #[cfg(feature = "tonic")]
    fn is_layered(&self) -> bool {
        self.flags.connect_info.load(Ordering::Relaxed)
            && self.shared.layered.load(Ordering::Relaxed)
    }

    #[cfg(not(feature = "tonic"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    const fn is_layered(&self) -> bool {
        false
    }

    /// The stream went to a server of tonic's: its requests come by the layer, if
    /// there is one.
    #[cfg(feature = "tonic")]
    pub(crate) fn set_connect_info(&self) {
        self.flags.connect_info.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_opaque(&self) -> bool {
        self.flags.opaque.load(Ordering::Relaxed)
    }

    pub(crate) fn set_opaque(&self) {
        self.flags.opaque.store(true, Ordering::Relaxed);
    }

    /// Whether the frames of HTTP/2 are followed.
    #[inline]
    pub(crate) fn is_followed(&self) -> bool {
        self.flags.followed.load(Ordering::Relaxed)
    }

    pub(crate) fn set_followed(&self) {
        self.flags.followed.store(true, Ordering::Relaxed);
    }

    /// How many exchanges are in flight: as the service notes them, or as streams
    /// are open on the wire, whichever are more.
    pub(crate) fn in_flight(&self) -> u32 {
        let noted = self.state.seen().in_flight();
        if self.is_followed() {
            noted.max(self.http2.open())
        } else {
            noted
        }
    }

    /// How many exchanges a break would cost. On HTTP/2 only the wire shows that: the
    /// task of a stream may still be at its end when its last frame has long been read.
    pub(crate) fn at_stake(&self) -> u32 {
        if self.is_followed() {
            self.http2.open()
        } else {
            self.state.seen().in_flight()
        }
    }

    /// Whether this is the first call. A connection is counted once in the reports of
    /// drains: as lost, or as cut off.
    pub(crate) fn is_to_be_reported(&self) -> bool {
        !self.flags.reported.swap(true, Ordering::AcqRel)
    }

    /// How many exchanges were in flight when it broke, or was cut off.
    pub(crate) fn broken(&self) -> u32 {
        self.broken.load(Ordering::Relaxed)
    }

    /// The connection breaks, or is cut off, with that many exchanges in flight.
    pub(crate) fn note_broken(&self, in_flight: u32) {
        self.broken.fetch_max(in_flight, Ordering::Relaxed);
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
        self.protocol() == Protocol::Upgraded || !(self.is_served() || self.is_followed())
    }

    fn note_byte(&self) {
        self.last_byte.store(self.stamp(), Ordering::Relaxed);
    }

    pub(crate) fn meter(&self) -> &Meter {
        self.meter.get_or_init(Box::default)
    }

    #[inline]
    pub(crate) fn add_read(&self, bytes: &[u8]) {
        add(&self.bytes_read, bytes.len());
        if self.keeps_bytes() {
            self.note_byte();
        }
        let idle = !self.state.seen().is_busy();
        let http1 = matches!(self.protocol(), Protocol::Unknown | Protocol::Http1);
        let http1 = http1 && !self.is_opaque();
        if idle && http1 && self.head_begun.load(Ordering::Relaxed) == 0 {
            self.begin_head(bytes);
        }
    }

    fn begin_head(&self, bytes: &[u8]) {
        // An empty line before a head is none (RFC 9112, section 2.2); some clients
        // send one behind a body.
        let blank = bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        if !blank && !self.flags.rest_of_body.load(Ordering::Relaxed) {
            self.head_begun.store(self.stamp(), Ordering::Relaxed);
        }
    }

    /// A handler dropped the body of a request on HTTP/1 of which not all had come.
    /// hyper then reads what there is, and closes the connection if that is not all.
    /// So what is read before a read finds nothing is no head.
    pub(crate) fn expect_rest_of_body(&self) {
        self.flags.rest_of_body.store(true, Ordering::Relaxed);
    }

    /// A read found nothing.
    #[inline]
    pub(crate) fn note_no_read(&self) {
        if self.flags.rest_of_body.load(Ordering::Relaxed) {
            self.flags.rest_of_body.store(false, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn add_written(&self, bytes: usize) {
        add(&self.bytes_written, bytes);
        if self.keeps_bytes() {
            self.note_byte();
        }
        if self.is_opaque() {
            // The server answers a TLS client once its hello is complete.
            self.head_begun.store(0, Ordering::Relaxed);
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

    pub(crate) fn note_blocked(&self) {
        if !self.is_write_blocked() {
            let moment = self.shared.clock.moment();
            self.writing
                .wait(self.stamp(), self.bytes_written(), moment);
        }
    }

    /// All that was written on HTTP/2 is out.
    #[inline]
    pub(crate) fn note_flushed(&self) {
        if let Some(meter) = self.meter.get() {
            meter.grant();
        }
    }

    #[inline]
    pub(crate) fn note_not_blocked(&self) {
        if self.is_write_blocked() {
            self.writing.go_on(self.stamp());
        }
    }

    /// Records the moment of a close that is about to be requested. Comes before the state has
    /// its reason: a reader of the reason never pairs it with the moment of an earlier close.
    fn note_closing(&self) {
        // Read first: the moment is then no later than that of a close which another
        // thread requests meanwhile.
        let now = self.stamp();
        if self.state.seen().may_be_closed() {
            self.closing_since.fetch_max(now, Ordering::Relaxed);
        }
    }

    /// When the close was requested, once it was.
    pub(crate) fn closing_since(&self) -> Duration {
        from_micros(self.closing_since.load(Ordering::Relaxed))
    }
}

/// What moves a connection on, and is told to whoever listens.
impl Connection {
    /// Sets what is spoken; does nothing if that is known.
    pub(crate) fn set_protocol(&self, protocol: Protocol) {
        let record = &*self.record;
        if !record.change_protocol(protocol) {
            return;
        }
        if protocol != Protocol::Http1 {
            record.head_begun.store(0, Ordering::Relaxed);
        }
        if protocol == Protocol::Upgraded {
            record.note_byte();
        }
        record.shared.tell_protocol(self);
    }

    /// Publishes what the frames show.
    pub(crate) fn note_wire(&self, wire: &Wire) {
        let record = &*self.record;
        let http2 = &record.http2;
        let (open, unanswered) = wire.open();
        let before = http2.open();
        http2.open.store(open, Ordering::Relaxed);
        http2.unanswered.store(unanswered, Ordering::Relaxed);
        http2.moved.store(wire.moved(), Ordering::Relaxed);
        let blocked = wire.blocked_since();
        http2.blocked_since.store(blocked, Ordering::Relaxed);
        let head = wire.head_begun();
        record.head_begun.store(head, Ordering::Relaxed);
        if before > 0 && open == 0 {
            record.idle_since.store(record.stamp(), Ordering::Relaxed);
            if !record.state.seen().is_open() {
                // It waits for the end of the last stream.
                record.reader.wake();
            }
            if record.shared.has_events() {
                self.announce_idle();
            }
        }
    }

    fn announce_busy(&self) {
        if !self.record.http2.announced.swap(true, Ordering::AcqRel) {
            self.record.shared.tell_busy(self);
        }
    }

    /// On HTTP/2 the last exchange and the last stream end apart, in any order.
    fn announce_idle(&self) {
        // Whichever ends second sees that the other has.
        fence(Ordering::SeqCst);
        let idle = self.record.in_flight() == 0;
        if idle && self.record.http2.announced.swap(false, Ordering::AcqRel) {
            self.record.shared.tell_idle(self);
        }
    }

    /// An exchange begins: its head is complete.
    #[inline]
    pub(crate) fn begin(&self) {
        let record = &*self.record;
        // One task serves HTTP/1, but HTTP/2 has one for each stream.
        let number = record.exchanges.fetch_add(1, Ordering::Relaxed) + 1;
        record.head_begun.store(0, Ordering::Relaxed);
        if record.protocol() == Protocol::Http1 {
            record.flags.rest_of_body.store(false, Ordering::Relaxed);
            // Nobody answers for the readers of an earlier response.
            record.writing.restart();
        }
        let before = record.state.begin();
        let most = record.shared.limits.max_requests;
        if most.is_some_and(|most| number >= most) {
            self.request_close(CloseReason::MaxRequests);
        }
        if record.shared.has_events() && !before.is_busy() {
            self.announce_busy();
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
            self.announce_idle();
        }
    }

    /// Closes for idleness, if nothing is in flight.
    pub(crate) fn close_idle(&self) -> bool {
        self.record.note_closing();
        self.record.state.close_idle() && self.tell_closing(CloseReason::Idle)
    }

    /// Closes in order. Whether nobody had before.
    pub(crate) fn request_close(&self, reason: CloseReason) -> bool {
        self.record.note_closing();
        self.record.state.close(reason) && self.tell_closing(reason)
    }

    fn tell_closing(&self, reason: CloseReason) -> bool {
        self.wake();
        self.record.shared.tell_closing(self, reason);
        true
    }

    /// Has the I/O look for streams that have stalled: it owns what is known of them.
    pub(crate) fn look_at_streams(&self) {
        self.record.http2.look.store(true, Ordering::Relaxed);
        self.record.reader.wake();
    }

    /// Ends it now, after a close was asked for.
    pub(crate) fn force(&self) {
        if self.record.state.force() {
            self.record.note_broken(self.record.in_flight());
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
