use crate::close::sync::{AtomicU32, Ordering};

const CLOSED: u32 = 1 << 31;

/// Sees to it that nothing is published of a connection after its `Closed`, whichever
/// threads it ends on. No lock: a callback may close the connection that it hears of.
///
/// Whoever publishes enters and leaves. `Closed` is published by whoever closes the
/// gate, or, if somebody is inside, by the last one to leave.
#[derive(Default)]
pub(crate) struct EventGate(AtomicU32);

impl EventGate {
    /// `false` if the gate is closed; otherwise [`leave`](Self::leave) it.
    pub(crate) fn enter(&self) -> bool {
        let entered = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (word & CLOSED == 0).then_some(word + 1)
            });
        entered.is_ok()
    }

    /// Whether `Closed` is now to be published by the caller.
    #[must_use]
    pub(crate) fn leave(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == CLOSED | 1
    }

    /// Whether `Closed` is now to be published by the caller.
    #[must_use]
    pub(crate) fn close(&self) -> bool {
        self.0.fetch_or(CLOSED, Ordering::AcqRel) == 0
    }
}
