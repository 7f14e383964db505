//! The bytes of a connection, written by its I/O.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Record;
use crate::Protocol;
use crate::clock::from_micros;

impl Record {
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Relaxed)
    }

    /// Returns the bytes read and written since the last call. Called by one thread at a time: the
    /// reaper while the connection is registered, and its I/O after that.
    pub(crate) fn take_unpublished(&self) -> (u64, u64) {
        let take = |now: u64, published: &AtomicU64| {
            let bytes = now.wrapping_sub(published.load(Ordering::Relaxed));
            if bytes > 0 {
                published.store(now, Ordering::Relaxed);
            }
            bytes
        };
        (
            take(self.bytes_read(), &self.published_read),
            take(self.bytes_written(), &self.published_written),
        )
    }

    /// Returns whether the time of each byte decides, and so is worth a look at the clock.
    #[inline]
    pub(crate) fn keeps_bytes(&self) -> bool {
        self.protocol() == Protocol::Upgraded || !(self.is_served() || self.is_followed())
    }

    pub(super) fn note_byte(&self) {
        self.last_byte.store(self.stamp(), Ordering::Relaxed);
    }

    pub(crate) fn last_byte(&self) -> Duration {
        from_micros(self.last_byte.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn add_read(&self, bytes: &[u8]) {
        add(&self.bytes_read, bytes.len());
        if self.keeps_bytes() {
            self.note_byte();
        }
        let idle = !self.state.load().is_busy();
        let http1 = matches!(self.protocol(), Protocol::Unknown | Protocol::Http1);
        let http1 = http1 && !self.is_opaque();
        if idle && http1 && self.head_begun.load(Ordering::Relaxed) == 0 {
            self.begin_head(bytes);
        }
    }

    fn begin_head(&self, bytes: &[u8]) {
        // An empty line before a head does not belong to it (RFC 9112, section 2.2); some clients
        // send one after a body.
        let blank = bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        if !blank && !self.flags.rest_of_body.load(Ordering::Relaxed) {
            self.head_begun.store(self.stamp(), Ordering::Relaxed);
        }
    }

    pub(crate) fn head_begun(&self) -> Option<Duration> {
        let begun = self.head_begun.load(Ordering::Relaxed);
        (begun != 0).then(|| from_micros(begun))
    }

    /// Records that a handler dropped a request body on HTTP/1 before it had arrived completely.
    /// hyper then reads what there is, and closes the connection if the body goes on. So bytes that
    /// come before a read finds none are no head.
    pub(crate) fn expect_rest_of_body(&self) {
        self.flags.rest_of_body.store(true, Ordering::Relaxed);
    }

    /// Records that a read found nothing.
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
            // A TLS server responds once the client's hello is complete.
            self.head_begun.store(0, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn is_write_blocked(&self) -> bool {
        self.write_wait.is_waiting()
    }

    pub(crate) fn note_blocked(&self) {
        if !self.is_write_blocked() {
            let moment = self.shared.clock.moment();
            self.write_wait
                .wait(self.stamp(), self.bytes_written(), moment);
        }
    }

    #[inline]
    pub(crate) fn note_not_blocked(&self) {
        if self.is_write_blocked() {
            self.write_wait.resume(self.stamp());
        }
    }

    /// Records that everything written on HTTP/2 has gone to the socket.
    #[inline]
    pub(crate) fn note_flushed(&self) {
        if let Some(meter) = self.meter.get() {
            meter.grant();
        }
    }
}

/// Needs no read-modify-write, since one task adds.
#[inline]
fn add(counter: &AtomicU64, bytes: usize) {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    let sum = counter.load(Ordering::Relaxed).wrapping_add(bytes);
    counter.store(sum, Ordering::Relaxed);
}
