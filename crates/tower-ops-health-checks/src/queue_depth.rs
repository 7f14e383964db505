use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tower_ops_health::{Check, CheckResult};

use crate::limits::Limits;

type Depth = Pin<Box<dyn Future<Output = Result<u64, CheckResult>> + Send>>;

/// Checks that a queue, or anything else that is counted, stays short.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::sync::Arc;
/// use tower_ops_health_checks::QueueDepth;
///
/// let queued = Arc::new(AtomicU64::new(0));
/// let depth = Arc::clone(&queued);
/// let check = QueueDepth::new(move || depth.load(Ordering::Relaxed))
///     .degraded_at(1_000)
///     .into_check("jobs");
/// # let _ = check;
/// ```
#[derive(Clone)]
#[must_use = "a check does nothing until it is given to a Health"]
pub struct QueueDepth {
    depth: Arc<dyn Fn() -> Depth + Send + Sync>,
    limits: Limits,
}

impl QueueDepth {
    /// Checks a number that is at hand. Needs at least one of the two limits.
    pub fn new(depth: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self::from_fn(Arc::new(move || Box::pin(std::future::ready(Ok(depth())))))
    }

    /// Checks a number that has to be awaited. An error is down.
    pub fn from_async<F, Fut, E>(depth: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<u64, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self::from_fn(Arc::new(move || {
            let depth = depth();
            Box::pin(async move { depth.await.map_err(|error| Err::<(), E>(error).into()) })
        }))
    }

    fn from_fn(depth: Arc<dyn Fn() -> Depth + Send + Sync>) -> Self {
        Self {
            depth,
            limits: Limits::default(),
        }
    }

    /// Sets the depth from which on it is degraded. Default: never.
    #[expect(
        clippy::cast_precision_loss,
        reason = "of no weight in so long a queue"
    )]
    pub const fn degraded_at(mut self, depth: u64) -> Self {
        self.limits.degraded = Some(depth as f64);
        self
    }

    /// Sets the depth from which on it is down. Default: never.
    #[expect(
        clippy::cast_precision_loss,
        reason = "of no weight in so long a queue"
    )]
    pub const fn down_at(mut self, depth: u64) -> Self {
        self.limits.down = Some(depth as f64);
        self
    }

    /// Makes the check.
    pub fn into_check(self, name: impl Into<Arc<str>>) -> Check {
        let Self { depth, limits } = self;
        let problems = limits.problems("degraded_at", "down_at");
        let check = Check::new(name, move || {
            let depth = depth();
            async move {
                match depth.await {
                    #[expect(clippy::cast_precision_loss, reason = "as above")]
                    Ok(depth) => limits.judge(depth as f64, "items"),
                    Err(result) => result,
                }
            }
        });
        check.problems(problems)
    }
}

impl fmt::Debug for QueueDepth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueDepth")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
