use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The clock of the limits. The reaper advances it, sixteen times in each pass, and all others only
/// read it: the system's clock would cost a request more than everything else here.
///
/// It advances by two steps at most, however long the reaper did not run. A process that was stopped
/// or starved has read nothing meanwhile, and clients must not be closed for that.
#[derive(Debug)]
pub(crate) struct Clock {
    /// In microseconds.
    now: AtomicU64,
    step: u64,
}

impl Clock {
    pub(crate) fn new(step: Duration) -> Self {
        let step = micros(step).clamp(1, micros(LONGEST));
        // Zero means no time.
        Self {
            now: AtomicU64::new(step),
            step,
        }
    }

    /// Returns the time, up to a step late: to judge by.
    pub(crate) fn now(&self) -> Duration {
        from_micros(self.now.load(Ordering::Relaxed))
    }

    /// Returns the time, up to a step early: to record, so that no limit is shorter than it was set.
    #[inline]
    pub(crate) fn stamp(&self) -> u64 {
        self.now.load(Ordering::Relaxed) + self.step
    }

    /// Returns the shortest time that can be distinguished from none.
    pub(crate) const fn moment(&self) -> u64 {
        2 * self.step
    }

    /// Advances the clock. Called by one reaper at a time.
    pub(crate) fn advance(&self, elapsed: Duration) {
        let moved = micros(elapsed).min(2 * self.step);
        self.now.fetch_add(moved, Ordering::Relaxed);
    }
}

/// Longer durations never end.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Returns the time that is `limit` after `then`: far in the future for a limit that no clock can
/// count.
pub(crate) fn after(then: Instant, limit: Duration) -> Instant {
    then.checked_add(limit).unwrap_or_else(|| then + LONGEST)
}

/// Returns a limit that others can add to any time.
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
