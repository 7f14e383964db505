use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const RUNNING: u8 = 0;
const ABANDONED: u8 = 1;
const COMMITTING: u8 = 2;

/// Decides one race: whoever waits for a restore gives it up, or it begins to commit.
/// Never both, and what has begun to commit goes on to its end.
#[derive(Clone, Default)]
pub(crate) struct Attempt {
    phase: Arc<AtomicU8>,
}

impl Attempt {
    /// Gives up. `false` if it is too late.
    pub(crate) fn abandon(&self) -> bool {
        self.leave_running(ABANDONED)
    }

    /// Begins to commit. `false` if nobody waits any more.
    pub(crate) fn begin_commit(&self) -> bool {
        self.leave_running(COMMITTING)
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.phase.load(Ordering::Acquire) == ABANDONED
    }

    /// Gives up when it is dropped.
    pub(crate) fn abandon_on_drop(&self) -> AbandonOnDrop {
        AbandonOnDrop(self.clone())
    }

    fn leave_running(&self, to: u8) -> bool {
        let left = self
            .phase
            .compare_exchange(RUNNING, to, Ordering::AcqRel, Ordering::Acquire);
        left.is_ok() || left == Err(to)
    }
}

pub(crate) struct AbandonOnDrop(Attempt);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_decides() {
        let attempt = Attempt::default();
        drop(attempt.abandon_on_drop());
        assert!(attempt.is_abandoned());
        assert!(attempt.abandon());
        assert!(!attempt.begin_commit());

        let attempt = Attempt::default();
        assert!(attempt.begin_commit());
        assert!(!attempt.abandon());
        assert!(!attempt.is_abandoned());
    }
}
