//! Bounds what the HTTP/2 transport holds of responses that nobody reads.
//!
//! hyper takes the frames of a body while the client's window is open, whether or not the socket
//! accepts them, and h2 needs some 300 bytes for each, however small. A client with a huge window
//! that never reads makes that hundreds of megabytes. So each frame is charged to its stream and to
//! its connection until h2 has written it, and a body is not polled while either is at its bound:
//!
//! - A stream that would hold more than [`STREAM`] is paused until half of that is left.
//! - Streams queue while those of the connection hold [`CONNECTION`] together. The second half of
//!   that is for streams that hold nothing: many unread streams take only the first half, and leave
//!   room for streams that come later or are read.
//!
//! If the socket accepts everything, then what is held waits for the windows of streams, and unread
//! streams must not block one that is read. So a stream that holds nothing resumes beyond that, up
//! to [`MOST`].
//!
//! One chunk more is held, however large: it exists once it was polled.

mod charge;
mod flow;
mod queue;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll};

use tower_ops_core::sync::Mutex;

pub(crate) use self::charge::Charge;
pub(crate) use self::flow::Flow;
use self::queue::{Place, Queue};

/// The cost of a frame besides its payload: its entry in h2's buffer, which grows by doubling, and
/// the allocation of the payload. Measured: about 300 bytes and 100.
pub(crate) const FRAME: usize = 512;
/// A stream that would hold more is paused.
pub(crate) const STREAM: usize = 128 * 1024;
/// At this bound, all streams of a connection wait.
pub(crate) const CONNECTION: usize = 384 * 1024;
/// At this bound, only streams that hold less than [`LIGHT`] resume.
pub(crate) const CROWDED: usize = CONNECTION / 2;
/// The bound of a connection where the socket accepts everything and only the windows of streams are
/// closed.
pub(crate) const MOST: usize = 1024 * 1024;
/// Less than the cost of any frame.
pub(crate) const LIGHT: usize = FRAME;
/// The rest of a body does not wait if its length is known and no more than this: usually it is in
/// memory already, so that waiting would save nothing.
pub(crate) const SMALL: u64 = 16 * 1024;

/// How much the streams of one connection hold.
#[derive(Debug)]
pub(crate) struct Meter {
    held: AtomicUsize,
    /// How many streams are in the queue.
    waiting: AtomicUsize,
    /// The highest charge of a frame so far; zero before the first one.
    largest: AtomicUsize,
    queue: Mutex<Queue>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            held: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            largest: AtomicUsize::new(0),
            queue: Mutex::default(),
        }
    }
}

impl Meter {
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    /// The expected charge of a stream's first frame.
    fn expected(&self) -> usize {
        match self.largest.load(Ordering::Relaxed) {
            0 => CONNECTION,
            largest => largest.min(CONNECTION),
        }
    }

    fn learn(&self, cost: usize) {
        if cost > self.largest.load(Ordering::Relaxed) {
            self.largest.fetch_max(cost, Ordering::Relaxed);
        }
    }

    fn add(&self, cost: usize) {
        self.held.fetch_add(cost, Ordering::SeqCst);
    }

    /// Reserves that much if less than `bound` is held. Streams on several threads poll their bodies
    /// at the same time, and without a reservation all of them would find the same room.
    fn try_reserve(&self, bound: usize, expected: usize) -> bool {
        let taken = self
            .held
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |held| {
                (held < bound).then(|| held + expected)
            });
        taken.is_ok()
    }

    fn release(&self, cost: usize) {
        // Paired with `poll_room`, which counts a waiter and then reads what is held.
        self.held.fetch_sub(cost, Ordering::SeqCst);
        self.wake_next();
    }

    /// Called when the socket has accepted everything: what is held now waits for windows of streams.
    /// Lets one stream that holds nothing resume beyond the bound of the connection, or unread
    /// streams could block the others for good.
    pub(crate) fn grant(&self) {
        if self.waiting.load(Ordering::SeqCst) == 0 || self.held.load(Ordering::SeqCst) >= MOST {
            return;
        }
        let light = self.queue().first_light();
        if let Some(flow) = light {
            flow.grant();
        }
    }

    /// Wakes the first stream that may resume. It stays in the queue until it has its room, so that
    /// no later one overtakes it.
    fn wake_next(&self) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let next = {
            let queue = self.queue();
            queue.first(self.held.load(Ordering::SeqCst))
        };
        // Without the lock: a waker may run code that drops a body.
        if let Some(flow) = next {
            flow.wake();
        }
    }
}

/// A response body on its way to the transport.
pub(crate) struct Outflow {
    flow: Arc<Flow>,
    /// The charge of its last frame.
    last: Option<usize>,
    /// Reserved for the frame that is being polled.
    reserved: usize,
    place: Option<Place>,
}

impl Outflow {
    pub(crate) const fn new(flow: Arc<Flow>) -> Self {
        Self {
            flow,
            last: None,
            reserved: 0,
            place: None,
        }
    }

    /// Completes when the body may be polled for one more frame. Then call
    /// [`charge`](Self::charge) for the frame, or [`give_back`](Self::give_back).
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self
            .flow
            .poll_paused(cx, self.last.unwrap_or(FRAME))
            .is_pending()
        {
            return Poll::Pending;
        }
        let meter = self.flow.meter();
        let expected = self.last.unwrap_or_else(|| meter.expected());
        let free = self.place.is_none() && meter.waiting.load(Ordering::SeqCst) == 0;
        if free && meter.try_reserve(self.flow.bound(), expected) {
            self.reserved = expected;
            return Poll::Ready(());
        }
        // Before anything is read that a release changes before it wakes.
        self.flow.register(cx);
        if let Some(place) = self.place
            && self.flow.take_grant()
        {
            meter.queue().leave(place);
            meter.waiting.fetch_sub(1, Ordering::SeqCst);
            self.place = None;
            meter.add(expected);
            self.reserved = expected;
            return Poll::Ready(());
        }
        let bound = self.flow.bound();
        let next = {
            let mut queue = meter.queue();
            let place = queue.enter(self.place, &self.flow, bound == CONNECTION);
            if self.place.is_none() {
                meter.waiting.fetch_add(1, Ordering::SeqCst);
            }
            self.place = Some(place);
            let first = queue.first(meter.held.load(Ordering::SeqCst));
            let own = first
                .as_ref()
                .is_some_and(|first| Arc::ptr_eq(first, &self.flow));
            if own && meter.try_reserve(bound, expected) {
                queue.leave(place);
                meter.waiting.fetch_sub(1, Ordering::SeqCst);
                self.place = None;
                self.reserved = expected;
                return Poll::Ready(());
            }
            first.filter(|_| !own)
        };
        if let Some(flow) = next {
            flow.wake();
        }
        Poll::Pending
    }

    /// Charges a frame that was polled, whether it has waited for room or not.
    ///
    /// A `whole` body in one chunk was in memory before. It counts to the connection as no more than
    /// a paused stream: other streams must not wait for its reader.
    pub(crate) fn charge(&mut self, payload: usize, whole: bool) -> Charge {
        let cost = payload.saturating_add(FRAME).min(u32::MAX as usize);
        let counted = if whole { cost.min(STREAM) } else { cost };
        self.last = Some(counted.min(CONNECTION));
        // The charge replaces the reservation.
        let expected = std::mem::take(&mut self.reserved);
        let meter = self.flow.meter();
        meter.learn(counted);
        if counted < expected {
            meter.release(expected - counted);
        } else {
            if counted > expected {
                meter.add(counted - expected);
            }
            meter.wake_next();
        }
        Charge::new(Arc::clone(&self.flow), cost, counted)
    }

    /// Gives back the reservation, if no frame was charged.
    pub(crate) fn give_back(&mut self) {
        let reserved = std::mem::take(&mut self.reserved);
        if reserved > 0 {
            self.flow.meter().release(reserved);
        }
    }
}

impl Drop for Outflow {
    fn drop(&mut self) {
        // If the body panicked.
        self.give_back();
        if let Some(place) = self.place.take() {
            let meter = self.flow.meter();
            meter.queue().leave(place);
            meter.waiting.fetch_sub(1, Ordering::SeqCst);
            meter.wake_next();
        }
    }
}
