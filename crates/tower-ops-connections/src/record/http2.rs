//! What the frames of HTTP/2 show, written by the I/O.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::Connection;
use crate::clock::from_micros;
use crate::close::judge::Http2View;
use crate::http2::Wire;

#[derive(Default)]
pub(crate) struct Http2Record {
    open: AtomicU32,
    unanswered: AtomicU32,
    /// When DATA last moved on an open stream.
    moved: AtomicU64,
    blocked_since: AtomicU64,
    /// Set by the reaper to have the I/O look for stalled streams.
    pub(crate) look: AtomicBool,
    /// There was a CONNECT.
    tunnels: AtomicBool,
    /// `Busy` was published, and `Idle` was not; of any protocol.
    pub(crate) busy_published: AtomicBool,
}

impl Http2Record {
    /// Returns how many streams are open.
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Returns whether any stream may be a tunnel or a WebSocket.
    pub(crate) fn has_tunnels(&self) -> bool {
        self.tunnels.load(Ordering::Relaxed)
    }

    pub(crate) fn set_tunnels(&self) {
        self.tunnels.store(true, Ordering::Relaxed);
    }

    pub(crate) fn view(&self) -> Http2View {
        let blocked = self.blocked_since.load(Ordering::Relaxed);
        Http2View {
            open: self.open(),
            unanswered: self.unanswered.load(Ordering::Relaxed),
            moved: from_micros(self.moved.load(Ordering::Relaxed)),
            blocked_since: (blocked != 0).then(|| from_micros(blocked)),
            tunnels: self.has_tunnels(),
        }
    }
}

impl Connection {
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
            if !record.state.load().is_open() {
                // The close waits for the end of the last stream.
                record.reader.wake();
            }
            if record.shared.events.are_published() {
                self.publish_idle();
            }
        }
    }
}
