use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::check::Check;
use crate::checks::limits::Limits;

/// How long a task waits for its next turn on the runtime that checks run on.
///
/// Sees a runtime that is busy. One that is stuck cannot run a check at all: that is what
/// [`Health::watch`](crate::Health::watch) is for.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_ops_health::checks::RuntimeLag;
///
/// let check = RuntimeLag::new()
///     .degraded_after(Duration::from_millis(50))
///     .check("runtime");
/// # let _ = check;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a check does nothing until it is given to a Health"]
pub struct RuntimeLag {
    limits: Limits,
}

impl RuntimeLag {
    /// Degraded from 100 ms on.
    pub const fn new() -> Self {
        Self {
            limits: Limits {
                degraded: Some(100.0),
                down: None,
            },
        }
    }

    /// From which wait on it is degraded. 100 ms by default.
    pub const fn degraded_after(mut self, wait: Duration) -> Self {
        self.limits.degraded = Some(wait.as_secs_f64() * 1e3);
        self
    }

    /// From which wait on it is down. Never, unless told.
    pub const fn down_after(mut self, wait: Duration) -> Self {
        self.limits.down = Some(wait.as_secs_f64() * 1e3);
        self
    }

    /// Makes the check.
    pub fn check(self, name: impl Into<Arc<str>>) -> Check {
        let problems = self.limits.problems("degraded_after", "down_after");
        let limits = self.limits;
        let check = Check::new(name, move || async move {
            let waited = tokio::spawn(async {
                // A task that was spawned by a worker may run next, past the whole queue. One
                // that yields goes to its end.
                let yielded = Instant::now();
                tokio::task::yield_now().await;
                yielded.elapsed()
            });
            let waited = waited.await;
            // Only the end of the runtime cancels it.
            let millis = waited.unwrap_or_default().as_secs_f64() * 1e3;
            limits.judge((millis * 1e3).round() / 1e3, "ms")
        });
        check.with_problems(problems)
    }
}

impl Default for RuntimeLag {
    fn default() -> Self {
        Self::new()
    }
}
