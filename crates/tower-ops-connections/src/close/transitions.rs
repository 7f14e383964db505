//! The transitions of a connection: exchanges begin and end, and a close is requested and forced.

use std::sync::atomic::{Ordering, fence};

use crate::{CloseReason, Connection, ConnectionEvent, Protocol};

#[cfg(test)]
mod tests;

impl Connection {
    /// Begins an exchange: its head is complete.
    #[inline]
    pub(crate) fn begin(&self) {
        let record = &*self.record;
        let http1 = record.protocol() == Protocol::Http1;
        let number = record.count_exchange(http1);
        record.head_begun.store(0, Ordering::Relaxed);
        if http1 {
            record.flags.rest_of_body.store(false, Ordering::Relaxed);
            // A slow reader of an earlier response does not count against this one.
            record.write_wait.restart();
        }
        let before = record.state.begin();
        let most = record.shared.limits.max_requests;
        if most.is_some_and(|most| number >= most) {
            self.request_close(CloseReason::MaxRequests);
        }
        if record.shared.events.are_published() && !before.is_busy() {
            self.publish_busy();
        }
    }

    /// Ends an exchange, or a [`BusyGuard`](crate::BusyGuard).
    #[inline]
    pub(crate) fn end(&self) {
        let record = &*self.record;
        // Before the count: nobody may find the connection idle since an earlier exchange.
        record.idle_since.store(record.stamp(), Ordering::Relaxed);
        let left = record.state.end();
        if left.is_busy() {
            return;
        }
        if !left.is_open() {
            // The close waits for the end of the last exchange.
            self.wake();
        }
        if record.shared.events.are_published() {
            self.publish_idle();
        }
    }

    fn publish_busy(&self) {
        let published = &self.record.http2.busy_published;
        if !published.swap(true, Ordering::AcqRel) {
            let events = &self.record.shared.events;
            events.publish(self, ConnectionEvent::Busy);
        }
    }

    /// On HTTP/2 the last exchange and the last stream end on two tasks, in any order.
    pub(crate) fn publish_idle(&self) {
        // Paired: whichever ends second finds that the other has ended.
        fence(Ordering::SeqCst);
        let published = &self.record.http2.busy_published;
        if self.record.in_flight() == 0 && published.swap(false, Ordering::AcqRel) {
            let events = &self.record.shared.events;
            events.publish(self, ConnectionEvent::Idle);
        }
    }

    /// Requests a close for idleness, if nothing is in flight. Returns whether it did.
    pub(crate) fn close_idle(&self) -> bool {
        self.note_closing();
        let closes = self.record.state.close_idle();
        if closes {
            self.publish_closing(CloseReason::Idle);
        }
        closes
    }

    /// Requests a close in order. Returns whether this request was the first.
    pub(crate) fn request_close(&self, reason: CloseReason) -> bool {
        self.note_closing();
        let first = self.record.state.close(reason);
        if first {
            self.publish_closing(reason);
        }
        first
    }

    /// Records the time before the state has its reason: a thread that reads the reason also reads a time
    /// that is not an earlier close's.
    fn note_closing(&self) {
        let record = &*self.record;
        // Before the state is read: no later than a close that another thread requests meanwhile.
        let now = record.stamp();
        if record.state.load().may_be_closed() {
            record.closing_since.fetch_max(now, Ordering::Relaxed);
        }
    }

    fn publish_closing(&self, reason: CloseReason) {
        self.wake();
        let events = &self.record.shared.events;
        events.publish(self, |it| ConnectionEvent::Closing(it, reason));
    }

    /// Ends the connection now, if a close was requested.
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

    /// Has the I/O look for stalled streams, which it owns.
    pub(crate) fn look_at_streams(&self) {
        self.record.http2.look.store(true, Ordering::Relaxed);
        self.record.reader.wake();
    }

    /// Wakes every task that takes part in the close.
    pub(crate) fn wake(&self) {
        let record = &*self.record;
        record.reader.wake();
        record.writer.wake();
        record.manager.wake();
        record.closing.notify_waiters();
    }
}
