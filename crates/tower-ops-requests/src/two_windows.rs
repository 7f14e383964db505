use crate::record::SECOND;

/// How long a window lasts.
pub(crate) const WINDOW: u64 = 5 * 60 * SECOND;

/// A value for the running five minutes, and that of the five minutes before. Old values are
/// forgotten after five to ten minutes, and there is always something to show.
pub(crate) struct TwoWindows<T> {
    since: u64,
    pub(crate) current: T,
    pub(crate) previous: T,
}

impl<T: Default> TwoWindows<T> {
    pub(crate) fn new(now: u64) -> Self {
        Self {
            since: now,
            current: T::default(),
            previous: T::default(),
        }
    }

    /// Begins the next window if the current one is over.
    #[inline]
    pub(crate) fn turn(&mut self, now: u64) {
        let passed = now.saturating_sub(self.since);
        if passed < WINDOW {
            return;
        }
        let current = std::mem::take(&mut self.current);
        self.previous = if passed < 2 * WINDOW {
            current
        } else {
            T::default()
        };
        self.since = now;
    }
}
