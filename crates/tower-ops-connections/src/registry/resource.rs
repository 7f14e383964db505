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

use super::close::{CloseOutcome, Meter, RegistryCloseReason};
use super::slots::ResourceId;
use crate::clock::{from_micros, micros};

type Closer<T> = Box<dyn FnOnce(T) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A resource and what closes it.
///
/// The registry has one reference to it, and each user one. Whoever gives up the
/// last one runs the closer: that is what makes it run exactly once, and never
/// while the resource is in use.
pub(crate) struct Resource<T> {
    connection: T,
    // Never locked: whoever takes it has the resource to himself. It only makes
    // the resource shareable, which a closer is not.
    closer: std::sync::Mutex<Option<Closer<T>>>,
    pub(super) name: Cow<'static, str>,
    registered: Instant,
    /// Microseconds after that.
    last_used: AtomicU64,
    users: AtomicUsize,
    reason: OnceLock<RegistryCloseReason>,
    done: watch::Sender<Option<CloseOutcome>>,
    runtime: Handle,
    close_timeout: Duration,
    meter: Arc<Meter>,
}

impl<T: Send + Sync + 'static> Resource<T> {
    pub(super) fn new<C, F>(
        connection: T,
        name: Cow<'static, str>,
        close: C,
        runtime: Handle,
        close_timeout: Duration,
        meter: Arc<Meter>,
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
            closer: std::sync::Mutex::new(Some(closer)),
            name,
            registered: Instant::now(),
            last_used: AtomicU64::new(0),
            users: AtomicUsize::new(0),
            reason: OnceLock::new(),
            done: watch::Sender::new(None),
            runtime,
            close_timeout,
            meter,
        }
    }

    pub(super) fn done(&self) -> watch::Receiver<Option<CloseOutcome>> {
        self.done.subscribe()
    }

    pub(super) fn idle(&self) -> Duration {
        if self.users.load(Ordering::Acquire) > 0 {
            return Duration::ZERO;
        }
        let last_used = from_micros(self.last_used.load(Ordering::Acquire));
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
            meter,
            ..
        } = self;
        let ending = Ending {
            name,
            reason: reason.into_inner().unwrap_or(RegistryCloseReason::Shutdown),
            outcome: CloseOutcome::Dropped,
            done,
            meter,
        };
        let closer = closer
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // At once, and not when it is polled: a runtime that is gone drops it.
        async move {
            // All of it: a closure would take a copy of the outcome alone.
            let mut ending = ending;
            let Some(closer) = closer else { return };
            // On a task of its own, which catches a panic and can be ended.
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

/// Reports how a resource was closed, however that went: when dropped.
struct Ending {
    name: Cow<'static, str>,
    reason: RegistryCloseReason,
    outcome: CloseOutcome,
    done: watch::Sender<Option<CloseOutcome>>,
    meter: Arc<Meter>,
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
            tracing::warn!(%name, %reason, %outcome, "a resource could not be closed in order");
        }
        self.meter.closed(*reason, *outcome);
        self.done.send_replace(Some(*outcome));
    }
}

/// Gives up the registry's reference, for a reason.
pub(super) fn release<T: Send + Sync + 'static>(
    resource: Arc<Resource<T>>,
    reason: RegistryCloseReason,
) {
    // The first reason stays.
    let _ = resource.reason.set(reason);
    give_up(resource);
}

fn give_up<T: Send + Sync + 'static>(resource: Arc<Resource<T>>) {
    // Of all who give theirs up at once, exactly one gets it.
    if let Some(resource) = Arc::into_inner(resource) {
        let runtime = resource.runtime.clone();
        runtime.spawn(resource.close());
    }
}

/// A resource in use. Made by [`Registry::use_connection`](super::Registry::use_connection).
#[must_use = "the resource is in use only as long as this lives"]
pub struct Guard<T: Send + Sync + 'static> {
    // `None` only while it is being dropped.
    resource: Option<Arc<Resource<T>>>,
    /// Not a use that keeps the resource from being idle: a health check.
    checks: bool,
}

impl<T: Send + Sync + 'static> Guard<T> {
    pub(super) fn new(resource: Arc<Resource<T>>) -> Self {
        resource.users.fetch_add(1, Ordering::AcqRel);
        Self {
            resource: Some(resource),
            checks: false,
        }
    }

    pub(super) fn for_check(resource: Arc<Resource<T>>) -> Self {
        let mut guard = Self::new(resource);
        guard.checks = true;
        guard
    }

    fn resource(&self) -> &Resource<T> {
        self.resource.as_ref().expect("there until it is dropped")
    }

    /// The name that it was registered with.
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
        if !self.checks {
            let now = micros(resource.registered.elapsed());
            resource.last_used.fetch_max(now, Ordering::AcqRel);
        }
        resource.users.fetch_sub(1, Ordering::AcqRel);
        give_up(resource);
    }
}

impl<T: Send + Sync + fmt::Debug + 'static> fmt::Debug for Guard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// What a resource was like at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResourceSnapshot {
    /// Which.
    pub id: ResourceId,
    /// The name that it was registered with.
    pub name: Cow<'static, str>,
    /// How long ago it was registered.
    pub age: Duration,
    /// How long nobody has used it; zero if somebody does.
    pub idle: Duration,
    /// By how many it is in use.
    pub users: usize,
}

impl ResourceSnapshot {
    pub(super) fn of<T: Send + Sync + 'static>(id: ResourceId, resource: &Resource<T>) -> Self {
        Self {
            id,
            name: resource.name.clone(),
            age: resource.registered.elapsed(),
            idle: resource.idle(),
            users: resource.users.load(Ordering::Acquire),
        }
    }
}
