use std::time::Duration;

use tokio::time::Instant;

/// Time since the tracking began, so that a moment fits into one atomic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    base: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            base: Instant::now(),
        }
    }

    pub(crate) fn now(self) -> Duration {
        self.base.elapsed()
    }
}

/// Enough for half a million years.
pub(crate) fn micros(time: Duration) -> u64 {
    time.as_secs() * 1_000_000 + u64::from(time.subsec_micros())
}

pub(crate) const fn from_micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}
