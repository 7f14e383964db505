use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The time that limits are kept by. The reaper moves it on, sixteen times in each
/// pass, and whoever notes a moment only reads it: to look at the system's clock
/// would cost a request more than all else here.
///
/// It moves by two steps at most, however long the reaper was kept from running. A
/// process that was stopped or starved has heard of no client meanwhile, and must
/// not hold that against them.
#[derive(Debug)]
pub(crate) struct Clock {
    /// In microseconds.
    now: AtomicU64,
    step: u64,
}

impl Clock {
    pub(crate) fn new(step: Duration) -> Self {
        let step = micros(step).clamp(1, micros(LONGEST));
        // Zero stands for no time at all.
        Self {
            now: AtomicU64::new(step),
            step,
        }
    }

    /// Now, up to a step late: what is to be judged.
    pub(crate) fn now(&self) -> Duration {
        from_micros(self.now.load(Ordering::Relaxed))
    }

    /// Now, up to a step early: what is noted, so that no limit is cut short.
    #[inline]
    pub(crate) fn stamp(&self) -> u64 {
        self.now.load(Ordering::Relaxed) + self.step
    }

    /// The shortest time that can be told from none.
    pub(crate) const fn moment(&self) -> u64 {
        2 * self.step
    }

    /// One task moves it on.
    pub(crate) fn advance(&self, elapsed: Duration) {
        let moved = micros(elapsed).min(2 * self.step);
        self.now.fetch_add(moved, Ordering::Relaxed);
    }
}

/// What is longer is for ever.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The moment that is `limit` after `then`. Takes any limit: one that no clock can
/// count is far away.
pub(crate) fn after(then: Instant, limit: Duration) -> Instant {
    then.checked_add(limit).unwrap_or_else(|| then + LONGEST)
}

/// A limit that others can add to a moment.
#[cfg(feature = "hyper-util")]
pub(crate) fn countable(limit: Duration) -> Duration {
    limit.min(LONGEST)
}

/// Saturates, after half a million years.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) const fn from_micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(100);

    #[test]
    fn what_is_noted_is_never_before_it_happened() {
        let clock = Clock::new(STEP);
        let before = clock.now();
        let noted = from_micros(clock.stamp());
        clock.advance(STEP);
        assert!(noted >= clock.now() && noted <= before + STEP);
    }

    #[test]
    fn a_stop_of_the_process_is_no_time() {
        let clock = Clock::new(STEP);
        let before = clock.now();
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(clock.now(), before + 2 * STEP);
    }
}
