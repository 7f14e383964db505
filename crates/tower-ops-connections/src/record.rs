//! The record of one connection, which its I/O, its service, the reaper and the handles share.

mod bytes;
mod http2;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) use self::http2::Http2Record;
use crate::clock::{from_micros, micros};
use crate::close::state::State;
use crate::connections::shared::Shared;
use crate::connections::watched::ConnectionWatched;
use crate::event::EventGate;
use crate::io::meter::Meter;
use crate::io::stall::{BodyWait, WriteWait};
use crate::metrics::ListenerMetrics;
use crate::{Connection, ConnectionEvent, Peer, Protocol};

/// What is known of one connection.
///
/// The I/O and the service write with plain stores, since one task owns them. The reaper and the
/// handles only read, except for the state and the windows of stalls.
///
/// The order of the fields counts: the reaper reads the first two cache lines. With a million
/// connections, each further line costs more than the verdicts do.
#[repr(C)]
pub(crate) struct Record {
    pub(crate) state: State,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    /// The bytes that are counted in the metrics.
    published_read: AtomicU64,
    published_written: AtomicU64,
    protocol: AtomicU8,
    pub(crate) flags: Flags,
    /// When the first byte of an incomplete head came; zero if there is none. All times are in
    /// microseconds of the [`Clock`](crate::clock::Clock).
    pub(crate) head_begun: AtomicU64,
    /// When the last exchange ended; at first, when the connection was opened.
    pub(crate) idle_since: AtomicU64,
    /// Zero if there is no limit.
    max_age: u64,
    pub(crate) opened: Duration,
    pub(crate) write_wait: WriteWait,
    pub(crate) body_wait: BodyWait,
    pub(crate) listener: Arc<ListenerMetrics>,
    pub(crate) http2: Http2Record,
    /// How many exchanges were in flight when the connection failed or was forced.
    broken: AtomicU32,
    pub(crate) watched: ConnectionWatched,
    /// When the last byte moved; kept only where [`keeps_bytes`](Self::keeps_bytes).
    last_byte: AtomicU64,
    pub(crate) closing_since: AtomicU64,
    pub(crate) exchanges: AtomicU64,
    /// By the system's clock, for handles.
    pub(crate) opened_at: Instant,
    pub(crate) id: u64,
    pub(crate) peer: Peer,
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: EventGate,
    /// Wakes the task that reads. After an upgrade another task may write.
    pub(crate) reader: AtomicWaker,
    pub(crate) writer: AtomicWaker,
    /// Wakes the task that manages the connection, where one does.
    pub(crate) manager: AtomicWaker,
    /// Wakes the handlers that wait for the close.
    pub(crate) closing: Notify,
    /// Made for the first response with a body on HTTP/2.
    meter: OnceLock<Box<Meter>>,
}

/// In the byte of the protocol: the connection has ended.
const ENDED: u8 = 0x80;

/// Set once and never cleared, except for `rest_of_body`.
#[derive(Default)]
pub(crate) struct Flags {
    managed: AtomicBool,
    tls: AtomicBool,
    served: AtomicBool,
    /// As `served`, if there is a layer.
    #[cfg(feature = "tonic")]
    connect_info: AtomicBool,
    /// The bytes are TLS that this crate does not terminate.
    opaque: AtomicBool,
    /// The frames of HTTP/2 are followed.
    followed: AtomicBool,
    /// The next bytes may be the rest of a body that was not read to its end.
    pub(crate) rest_of_body: AtomicBool,
    /// A drain has counted the connection.
    reported: AtomicBool,
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
            write_wait: WriteWait::default(),
            body_wait: BodyWait::default(),
            events: EventGate::default(),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            manager: AtomicWaker::new(),
            closing: Notify::new(),
            meter: OnceLock::new(),
            published_read: AtomicU64::new(0),
            published_written: AtomicU64::new(0),
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

    /// Changes the protocol and the gauges. Does nothing after the end, when the gauges have been
    /// set back.
    fn change_protocol(&self, after: Protocol) -> bool {
        loop {
            let word = self.protocol.load(Ordering::Relaxed);
            let before = Protocol::from_index(word & !ENDED);
            // The I/O and the service may both detect it. An upgrade is final.
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

    /// Fixes the protocol, since the connection has ended.
    pub(crate) fn end_protocol(&self) {
        self.protocol.fetch_or(ENDED, Ordering::Relaxed);
    }

    /// Returns whether a task of this crate owns the connection's future, and closes it.
    pub(crate) fn is_managed(&self) -> bool {
        self.flags.managed.load(Ordering::Relaxed)
    }

    /// Called once for each connection: [`Tracked::managed`](crate::Tracked) consumes the stream.
    #[cfg(feature = "hyper-util")]
    pub(crate) fn set_managed(&self) {
        self.flags.managed.store(true, Ordering::Relaxed);
        self.listener.managed.increment(1.0);
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.flags.tls.load(Ordering::Relaxed)
    }

    #[cfg(feature = "tls")]
    pub(crate) fn set_tls(&self) {
        self.flags.tls.store(true, Ordering::Relaxed);
    }

    /// Returns whether a service tracks the exchanges.
    #[inline]
    pub(crate) fn is_served(&self) -> bool {
        self.flags.served.load(Ordering::Relaxed) || self.is_layered()
    }

    pub(crate) fn set_served(&self) {
        self.flags.served.store(true, Ordering::Relaxed);
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

    /// The stream belongs to a server of tonic's, whose requests are tracked if there is a layer.
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

    /// Returns whether the frames of HTTP/2 are followed.
    #[inline]
    pub(crate) fn is_followed(&self) -> bool {
        self.flags.followed.load(Ordering::Relaxed)
    }

    pub(crate) fn set_followed(&self) {
        self.flags.followed.store(true, Ordering::Relaxed);
    }

    /// Returns how many exchanges are in flight: in the service, or as open streams on the wire,
    /// whichever is more.
    pub(crate) fn in_flight(&self) -> u32 {
        let tracked = self.state.load().in_flight();
        if self.is_followed() {
            tracked.max(self.http2.open())
        } else {
            tracked
        }
    }

    /// Returns how many exchanges a failure now would lose. On HTTP/2 the wire decides: a service
    /// may still hold a stream whose last frame the client has read.
    pub(crate) fn at_stake(&self) -> u32 {
        if self.is_followed() {
            self.http2.open()
        } else {
            self.state.load().in_flight()
        }
    }

    /// Returns `true` once. A connection is counted once in the reports of drains: as lost, or as cut
    /// off.
    pub(crate) fn is_to_be_reported(&self) -> bool {
        !self.flags.reported.swap(true, Ordering::AcqRel)
    }

    /// Returns how many exchanges were in flight when the connection failed or was forced.
    pub(crate) fn broken(&self) -> u32 {
        self.broken.load(Ordering::Relaxed)
    }

    /// Records that the connection failed or was forced with that many exchanges in flight.
    pub(crate) fn note_broken(&self, in_flight: u32) {
        self.broken.fetch_max(in_flight, Ordering::Relaxed);
    }

    pub(crate) fn exchanges(&self) -> u64 {
        self.exchanges.load(Ordering::Relaxed)
    }

    /// Counts an exchange, and returns its number.
    #[inline]
    pub(crate) fn count_exchange(&self, http1: bool) -> u64 {
        if !http1 {
            // On HTTP/2 each stream has a task of its own.
            return self.exchanges.fetch_add(1, Ordering::Relaxed) + 1;
        }
        // One at a time: no read-modify-write is needed.
        let number = self.exchanges() + 1;
        self.exchanges.store(number, Ordering::Relaxed);
        number
    }

    pub(crate) fn idle_since(&self) -> Duration {
        from_micros(self.idle_since.load(Ordering::Relaxed))
    }

    /// Returns when the close was requested, once it was.
    pub(crate) fn closing_since(&self) -> Duration {
        from_micros(self.closing_since.load(Ordering::Relaxed))
    }

    pub(crate) fn meter(&self) -> &Meter {
        self.meter.get_or_init(Box::default)
    }
}

impl Connection {
    /// Sets the protocol, and publishes it if that is new.
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
        record
            .shared
            .events
            .publish(self, ConnectionEvent::Protocol);
    }
}
