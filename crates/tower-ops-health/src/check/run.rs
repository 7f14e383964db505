//! How checks run: on the runtime, or on a thread of their own.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tower_ops_core::panic::catch;

use super::CheckResult;

/// Checks whether something that a service needs works.
///
/// For checks with a state of their own. A closure in [`Check::new`](super::Check::new) is enough
/// for most.
///
/// # Cancel safety
///
/// The future is dropped at the check's timeout, and when the checks end.
///
/// # Examples
///
/// ```
/// use tower_ops_health::{Check, CheckResult, HealthCheck};
///
/// struct Disk { path: std::path::PathBuf }
///
/// impl HealthCheck for Disk {
///     async fn run(&self) -> CheckResult {
///         self.path.is_dir().into()
///     }
/// }
///
/// let check = Check::with("spool", Disk { path: "/var/spool".into() }).critical();
/// # let _ = check;
/// ```
pub trait HealthCheck: Send + Sync + 'static {
    /// Runs once. Never called while an earlier run has not ended.
    fn run(&self) -> impl Future<Output = CheckResult> + Send;
}

/// Held while a check runs, on whatever thread. The next run waits until it is dropped.
pub(crate) type Flight = OwnedSemaphorePermit;

pub(crate) type Running = Pin<Box<dyn Future<Output = CheckResult> + Send>>;

/// A check whose type is erased.
pub(crate) trait Run: Send + Sync {
    fn run(self: Arc<Self>, flight: Flight) -> Running;
}

pub(super) struct Async<C>(pub(super) C);

impl<C: HealthCheck> Run for Async<C> {
    fn run(self: Arc<Self>, flight: Flight) -> Running {
        Box::pin(async move {
            let _flight = flight;
            self.0.run().await
        })
    }
}

/// A closure that blocks.
pub(super) struct Blocking<F>(pub(super) F);

impl<F, R> Run for Blocking<F>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Into<CheckResult>,
{
    fn run(self: Arc<Self>, flight: Flight) -> Running {
        Box::pin(async move {
            let runtime = Handle::current();
            let (look, looking) = oneshot::channel();
            // Not on the blocking pool: a runtime waits for that at its end, and would keep the
            // process for as long as a file system hangs.
            let thread = thread::Builder::new().name("health-check".into());
            let spawned = thread.spawn(move || {
                // Held by the thread, which a timeout does not end.
                let _flight = flight;
                let _entered = runtime.enter();
                let result = catch(|| (self.0)().into());
                // Nobody receives it after a timeout.
                let _ = look.send(result);
            });
            if let Err(error) = spawned {
                return CheckResult::down(format!("no thread for the check: {error}"));
            }
            match looking.await {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => resume_unwind(panic),
                Err(_) => CheckResult::down("the check's thread has ended"),
            }
        })
    }
}

/// A closure that returns a future.
pub(super) struct Closure<F>(pub(super) F);

impl<F, Fut, R> HealthCheck for Closure<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send,
    R: Into<CheckResult>,
{
    async fn run(&self) -> CheckResult {
        (self.0)().await.into()
    }
}
