use std::fmt;
use std::sync::Arc;

use super::Flow;

/// The charge of one frame, which is dropped with it. Holds the exchange.
///
/// h2 drops frames under a lock of its own, so the drop must neither block nor panic, and wakes tasks
/// without running them.
pub(crate) struct Charge {
    flow: Arc<Flow>,
    cost: u32,
    /// The part that counts for the connection.
    counted: u32,
}

impl Charge {
    pub(super) fn new(flow: Arc<Flow>, cost: usize, counted: usize) -> Self {
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        flow.add(cost as usize);
        Self {
            flow,
            cost,
            counted: u32::try_from(counted).unwrap_or(u32::MAX),
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.flow.release(self.cost as usize, self.counted as usize);
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}
