//! What the HTTP/2 transport may hold of responses that nobody reads.
//!
//! hyper takes the frames of a body as long as the client's window is open, whether or
//! not the socket takes them, and h2 needs some 300 bytes for each, however small. A
//! client that opens a huge window and never reads makes that hundreds of megabytes. So
//! the frames of a body are charged to its stream and to its connection until h2 has
//! written them, and a body is not polled while either holds its bound:
//!
//! - a stream that would hold more than [`STREAM`] is paused until half of that is left;
//! - streams wait in line while those of a connection hold [`CONNECTION`] together. The
//!   second half of that is for streams that hold nothing: many that nobody reads take
//!   what there is in the first half, and leave room for those that come later, or are
//!   read.
//!
//! Where the socket takes all that it is given, a stream that holds nothing goes on beyond
//! that, up to [`MOST`]: what is held then waits for windows of streams, and streams that
//! are not read must not stop one that is.
//!
//! One chunk more is in hand: it exists once it was polled, however large it is.

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

/// What a frame costs besides its payload: its entry in h2's buffer, which grows by
/// doubling, and the allocation that keeps its payload. Measured: about 300 bytes and
/// 100.
pub(crate) const FRAME: usize = 512;
/// A stream that would hold more is paused.
pub(crate) const STREAM: usize = 128 * 1024;
/// From here on, all streams of a connection wait.
pub(crate) const CONNECTION: usize = 384 * 1024;
/// From here on, only those go on that hold less than [`LIGHT`].
pub(crate) const CROWDED: usize = CONNECTION / 2;
/// What the connection may hold in all where the socket takes everything, and only the
/// windows of streams are closed.
pub(crate) const MOST: usize = 1024 * 1024;
/// No frame.
pub(crate) const LIGHT: usize = FRAME;
/// What is left of a body of known size, if it is no more than this, does not wait:
/// most often it is there already, and to hold it back would save nothing.
pub(crate) const SMALL: u64 = 16 * 1024;

/// What the streams of one connection hold.
#[derive(Debug)]
pub(crate) struct Meter {
    held: AtomicUsize,
    /// How many are in the queue.
    waiting: AtomicUsize,
    /// The most that one frame was charged; before the first one, all there is.
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

    /// What a frame that is not known yet may need.
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

    /// Takes that much if less than `bound` is held. Streams on several threads poll
    /// their bodies at the same time: each takes what it expects before, or all of
    /// them would find the same room.
    fn try_reserve(&self, bound: usize, expected: usize) -> bool {
        let taken = self
            .held
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |held| {
                (held < bound).then(|| held + expected)
            });
        taken.is_ok()
    }

    fn release(&self, cost: usize) {
        // Paired with the queue's: it counts a waiter, and then looks at what is held.
        self.held.fetch_sub(cost, Ordering::SeqCst);
        self.wake_next();
    }

    /// The socket takes what it is given: whatever is held now waits for windows of
    /// streams. Who holds next to nothing may go on beyond the bound of the
    /// connection, one at a time, or streams that are not read could stop those that
    /// are for good.
    pub(crate) fn grant(&self) {
        if self.waiting.load(Ordering::SeqCst) == 0 || self.held.load(Ordering::SeqCst) >= MOST {
            return;
        }
        let light = self.queue().first_light();
        if let Some(flow) = light {
            flow.grant();
        }
    }

    /// Wakes the first that may go on. It stays in line until it has what it waits
    /// for, so that nobody who comes later overtakes it.
    fn wake_next(&self) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let next = {
            let queue = self.queue();
            queue.first(self.held.load(Ordering::SeqCst))
        };
        // Not under the lock: to wake may run what drops a body.
        if let Some(flow) = next {
            flow.wake();
        }
    }
}

/// A response's body on its way to the transport.
pub(crate) struct Outflow {
    flow: Arc<Flow>,
    /// What its last frame was charged.
    last: Option<usize>,
    /// Room for a frame that is being polled.
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

    /// Completes when the body may be polled for one more frame.
    ///
    /// Then [`charge`](Self::charge) that, or [`give_back`](Self::give_back) the room.
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
        // Before anything is looked at that a release may change, and wake for.
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
    /// A `whole` body in one piece was there before it was polled. To the connection
    /// it counts as no more than a stream that is paused: it is the application that
    /// has made it, and others must not wait for its reader.
    pub(crate) fn charge(&mut self, payload: usize, whole: bool) -> Charge {
        let cost = payload.saturating_add(FRAME).min(u32::MAX as usize);
        let counted = if whole { cost.min(STREAM) } else { cost };
        self.last = Some(counted.min(CONNECTION));
        // What it costs takes the place of what was expected.
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

    /// There was no frame to charge.
    pub(crate) fn give_back(&mut self) {
        let reserved = std::mem::take(&mut self.reserved);
        if reserved > 0 {
            self.flow.meter().release(reserved);
        }
    }
}

impl Drop for Outflow {
    fn drop(&mut self) {
        // The body panicked.
        self.give_back();
        if let Some(place) = self.place.take() {
            let meter = self.flow.meter();
            meter.queue().leave(place);
            meter.waiting.fetch_sub(1, Ordering::SeqCst);
            meter.wake_next();
        }
    }
}
