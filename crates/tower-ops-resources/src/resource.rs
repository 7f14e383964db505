use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tower_ops_core::sync::Mutex;

use crate::closed::{CloseOutcome, CloseReason, Metrics};
use crate::slots::ResourceId;

type Closer<T> = Box<dyn FnOnce(T) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A resource and its closer.
///
/// The registry holds one reference, and each guard one. Dropping the last reference runs the
/// closer. So it runs exactly once, and never while the resource is in use.
pub(crate) struct Resource<T> {
    connection: T,
    // Never locked: the thread that takes the closer owns the resource. The lock makes the resource `Sync`,
    // which a closer is not.
    closer: Mutex<Option<Closer<T>>>,
    pub(crate) name: Cow<'static, str>,
    registered: Instant,
    /// In microseconds after `registered`.
    last_used: AtomicU64,
    users: AtomicUsize,
    reason: OnceLock<CloseReason>,
    done: watch::Sender<Option<CloseOutcome>>,
    runtime: Handle,
    close_timeout: Duration,
    metrics: Arc<Metrics>,
}

impl<T: Send + Sync + 'static> Resource<T> {
    pub(crate) fn new<C, F>(
        connection: T,
        name: Cow<'static, str>,
        close: C,
        runtime: Handle,
        close_timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> Self
    where
        C: FnOnce(T) -> F + Send + 'static,
        F: Future + Send,
    {
        let closer: Closer<T> = Box::new(|connection| {
            Box::pin(async move {
                close(connection).await;
            })
        });
        Self {
            connection,
            closer: Mutex::new(Some(closer)),
            name,
            registered: Instant::now(),
            last_used: AtomicU64::new(0),
            users: AtomicUsize::new(0),
            reason: OnceLock::new(),
            done: watch::Sender::new(None),
            runtime,
            close_timeout,
            metrics,
        }
    }

    pub(crate) fn done(&self) -> watch::Receiver<Option<CloseOutcome>> {
        self.done.subscribe()
    }

    pub(crate) fn idle(&self) -> Duration {
        if self.users.load(Ordering::Acquire) > 0 {
            return Duration::ZERO;
        }
        let last_used = Duration::from_micros(self.last_used.load(Ordering::Acquire));
        self.registered.elapsed().saturating_sub(last_used)
    }

    fn close(self) -> impl Future<Output = ()> + Send + use<T> {
        let Self {
            connection,
            closer,
            name,
            reason,
            done,
            close_timeout,
            metrics,
            ..
        } = self;
        let ending = Ending {
            name,
            reason: reason.into_inner().unwrap_or(CloseReason::Shutdown),
            outcome: CloseOutcome::Dropped,
            done,
            metrics,
        };
        let closer = closer.into_inner();
        // Everything is moved in now, not at the first poll: a runtime that has shut down only
        // drops the future.
        async move {
            // The whole value: the future would capture a copy of the outcome alone.
            let mut ending = ending;
            let Some(closer) = closer else { return };
            // A task of its own catches a panic and can be aborted.
            let mut task = tokio::spawn(async move { closer(connection).await });
            ending.outcome = match timeout(close_timeout, &mut task).await {
                Ok(Ok(())) => CloseOutcome::Closed,
                Ok(Err(error)) if error.is_panic() => CloseOutcome::Panicked,
                Ok(Err(_)) => CloseOutcome::Dropped,
                Err(_) => {
                    task.abort();
                    CloseOutcome::TimedOut
                }
            };
        }
    }
}

/// Logs, counts and publishes the outcome of a close when dropped.
struct Ending {
    name: Cow<'static, str>,
    reason: CloseReason,
    outcome: CloseOutcome,
    done: watch::Sender<Option<CloseOutcome>>,
    metrics: Arc<Metrics>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Self {
            name,
            reason,
            outcome,
            ..
        } = self;
        if *outcome == CloseOutcome::Closed {
            tracing::debug!(%name, %reason, "a resource was closed");
        } else {
            tracing::warn!(%name, %reason, %outcome, "a resource was not closed in order");
        }
        self.metrics.closed(*reason, *outcome);
        self.done.send_replace(Some(*outcome));
    }
}

/// Drops the registry's reference, for a reason.
pub(crate) fn release<T: Send + Sync + 'static>(resource: Arc<Resource<T>>, reason: CloseReason) {
    // The first reason wins.
    let _ = resource.reason.set(reason);
    drop_reference(resource);
}

fn drop_reference<T: Send + Sync + 'static>(resource: Arc<Resource<T>>) {
    // If several threads drop theirs at once, exactly one gets the resource.
    if let Some(resource) = Arc::into_inner(resource) {
        let runtime = resource.runtime.clone();
        runtime.spawn(resource.close());
    }
}

/// A resource in use, which is not closed while the guard lives. Made by
/// [`Registry::use_connection`](crate::Registry::use_connection).
#[must_use = "the resource is in use only while the guard lives"]
pub struct Guard<T: Send + Sync + 'static> {
    // `None` only in `drop`.
    resource: Option<Arc<Resource<T>>>,
    /// A health check, which does not count as a use.
    is_check: bool,
}

impl<T: Send + Sync + 'static> Guard<T> {
    pub(crate) fn new(resource: Arc<Resource<T>>) -> Self {
        resource.users.fetch_add(1, Ordering::AcqRel);
        Self {
            resource: Some(resource),
            is_check: false,
        }
    }

    pub(crate) fn for_check(resource: Arc<Resource<T>>) -> Self {
        let mut guard = Self::new(resource);
        guard.is_check = true;
        guard
    }

    fn resource(&self) -> &Resource<T> {
        self.resource.as_ref().expect("only `drop` takes it")
    }

    /// Returns the name under which the resource was registered.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.resource().name
    }
}

impl<T: Send + Sync + 'static> Deref for Guard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.resource().connection
    }
}

impl<T: Send + Sync + 'static> Drop for Guard<T> {
    fn drop(&mut self) {
        let Some(resource) = self.resource.take() else {
            return;
        };
        if !self.is_check {
            let now = micros(resource.registered.elapsed());
            resource.last_used.fetch_max(now, Ordering::AcqRel);
        }
        resource.users.fetch_sub(1, Ordering::AcqRel);
        drop_reference(resource);
    }
}

impl<T: Send + Sync + fmt::Debug + 'static> fmt::Debug for Guard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// The state of a resource at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResourceSnapshot {
    /// Its id.
    pub id: ResourceId,
    /// The name under which it was registered.
    pub name: Cow<'static, str>,
    /// How long ago it was registered.
    pub age: Duration,
    /// How long nobody has used it; zero while it is in use.
    pub idle: Duration,
    /// How many guards it has.
    pub users: usize,
}

impl ResourceSnapshot {
    pub(crate) fn of<T: Send + Sync + 'static>(id: ResourceId, resource: &Resource<T>) -> Self {
        Self {
            id,
            name: resource.name.clone(),
            age: resource.registered.elapsed(),
            idle: resource.idle(),
            users: resource.users.load(Ordering::Acquire),
        }
    }
}

/// Saturates, after half a million years.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
