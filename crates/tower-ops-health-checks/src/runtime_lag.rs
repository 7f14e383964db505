use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tower_ops_health::Check;

use crate::limits::Limits;

/// Checks how long a task waits for its next turn on the runtime that checks run on.
///
/// Detects a runtime that is busy. A runtime that is stuck cannot run a check at all: use
/// [`Health::watch`](tower_ops_health::Health::watch) for that.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_ops_health_checks::RuntimeLag;
///
/// let check = RuntimeLag::new()
///     .degraded_after(Duration::from_millis(50))
///     .into_check("runtime");
/// # let _ = check;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a check does nothing until it is given to a Health"]
pub struct RuntimeLag {
    limits: Limits,
}

impl RuntimeLag {
    /// Makes a check that is degraded from 100 ms on.
    pub const fn new() -> Self {
        Self {
            limits: Limits::degraded_at(100.0),
        }
    }

    /// Sets the wait from which on it is degraded. Default: 100 ms.
    pub const fn degraded_after(mut self, wait: Duration) -> Self {
        self.limits.degraded = Some(wait.as_secs_f64() * 1e3);
        self
    }

    /// Sets the wait from which on it is down. Default: never.
    pub const fn down_after(mut self, wait: Duration) -> Self {
        self.limits.down = Some(wait.as_secs_f64() * 1e3);
        self
    }

    /// Makes the check.
    pub fn into_check(self, name: impl Into<Arc<str>>) -> Check {
        let problems = self.limits.problems("degraded_after", "down_after");
        let limits = self.limits;
        let check = Check::new(name, move || async move {
            let waited = tokio::spawn(async {
                // A task that a worker spawns may run next, ahead of the whole queue. One that
                // yields goes to the end of it.
                let yielded = Instant::now();
                tokio::task::yield_now().await;
                yielded.elapsed()
            });
            // Only the end of the runtime cancels the task.
            let millis = waited.await.unwrap_or_default().as_secs_f64() * 1e3;
            limits.judge((millis * 1e3).round() / 1e3, "ms")
        });
        check.problems(problems)
    }
}

impl Default for RuntimeLag {
    fn default() -> Self {
        Self::new()
    }
}
