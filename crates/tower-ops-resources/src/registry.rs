use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tower_ops_core::recorder::RecorderHandle;
use tower_ops_core::sync::Mutex;

use crate::builder::{RegistryBuilder, Settings};
use crate::closed::{CloseAllReport, CloseOutcome, CloseReason, Metrics};
use crate::janitor::{self, Janitors};
use crate::resource::{Guard, Resource, ResourceSnapshot, release};
use crate::slots::{ResourceId, Slots};

/// Owns long-lived resources and closes each one when nobody uses it: exactly once, and never while
/// it is in use. Cheap to clone.
///
/// Every [health check interval](RegistryBuilder::health_check_interval), 60 seconds by default, one
/// task makes a pass over the resources that are not in use. It closes those that have been idle for
/// the [idle timeout](RegistryBuilder::idle_timeout), so with the defaults between 300 and 360
/// seconds after their last use, and those that fail their health check.
///
/// When the last handle is dropped, everything is closed in the background. Call
/// [`close_all`](Self::close_all) to wait for it.
///
/// # Examples
///
/// ```
/// use tower_ops_resources::Registry;
///
/// struct Db;
/// impl Db {
///     async fn query(&self) -> u32 { 7 }
///     async fn close(self) {}
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new();
/// let id = registry.register_connection(Db, "db", |db| db.close());
///
/// let db = registry.use_connection(id)?;
/// assert_eq!(db.query().await, 7);
/// drop(db);
///
/// registry.close(id).await?;
/// assert!(registry.use_connection(id).is_err());
/// # Ok(())
/// # }
/// ```
pub struct Registry<T: Send + Sync + 'static> {
    pub(crate) inner: Arc<Inner<T>>,
}

pub(crate) struct Inner<T: Send + Sync + 'static> {
    pub(crate) slots: Mutex<Slots<T>>,
    pub(crate) settings: Settings<T>,
    pub(crate) janitors: Mutex<Janitors>,
    metrics: Arc<Metrics>,
}

/// Why a resource cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UseError {
    /// It is closed, or being closed.
    Closed,
    /// It was never in this registry.
    Unknown,
}

impl<T: Send + Sync + 'static> Registry<T> {
    /// Creates a registry with the defaults: see [`RegistryBuilder`].
    #[must_use]
    pub fn new() -> Self {
        RegistryBuilder::default().build_valid()
    }

    /// Returns a builder with the defaults.
    pub fn builder() -> RegistryBuilder<T> {
        RegistryBuilder::default()
    }

    pub(crate) fn from_settings(settings: Settings<T>, recorder: &RecorderHandle) -> Self {
        Self {
            inner: Arc::new(Inner {
                slots: Mutex::default(),
                settings,
                janitors: Mutex::default(),
                metrics: Arc::new(Metrics::new(recorder)),
            }),
        }
    }

    /// Takes ownership of `connection`, under a name for logs and reports.
    ///
    /// `close` is called once with the connection, on a task of its own, when the connection is to
    /// be closed. It may take up to the [close timeout](RegistryBuilder::close_timeout). A panic in
    /// it is logged and counted. Its result is dropped, so it has to handle its own errors.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn register_connection<C, F>(
        &self,
        connection: T,
        name: impl Into<Cow<'static, str>>,
        close: C,
    ) -> ResourceId
    where
        C: FnOnce(T) -> F + Send + 'static,
        F: Future + Send,
    {
        let runtime = Handle::current();
        let resource = Resource::new(
            connection,
            name.into(),
            close,
            runtime.clone(),
            self.inner.settings.close_timeout,
            Arc::clone(&self.inner.metrics),
        );
        self.inner.metrics.registered();
        let id = self.inner.slots.lock().insert(Arc::new(resource));
        janitor::ensure(&self.inner, &runtime);
        id
    }

    /// Returns a guard through which the resource can be used. It is not closed while the guard
    /// lives. Several guards may exist at once.
    ///
    /// # Errors
    ///
    /// If the resource is closed, or not in this registry.
    pub fn use_connection(&self, id: ResourceId) -> Result<Guard<T>, UseError> {
        self.inner.slots.lock().get(id).map(Guard::new)
    }

    /// Closes a resource. From now on it cannot be used, and its closer runs when the last guard is
    /// dropped. Waits for the guards up to the close timeout, and as long for the closer.
    ///
    /// # Errors
    ///
    /// If the resource is closed already, or not in this registry.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the close continues when the future is dropped.
    pub async fn close(&self, id: ResourceId) -> Result<CloseOutcome, UseError> {
        let resource = self.inner.slots.lock().remove(id)?;
        let mut done = resource.done();
        release(resource, CloseReason::Manual);
        let limit = self.inner.settings.close_timeout.saturating_mul(2);
        Ok(outcome(&mut done, limit).await)
    }

    /// Closes everything, and waits for it up to `limit`.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the closes continue when the future is dropped.
    pub async fn close_all(&self, limit: Duration) -> CloseAllReport {
        let begun = Instant::now();
        let resources = self.inner.slots.lock().take_all();
        // All closes begin before the first is waited for.
        let waiting: Vec<_> = resources
            .into_iter()
            .map(|resource| {
                let waiting = (resource.name.clone(), resource.done());
                release(resource, CloseReason::Shutdown);
                waiting
            })
            .collect();
        let mut report = CloseAllReport::default();
        for (name, mut done) in waiting {
            let left = limit.saturating_sub(begun.elapsed());
            report.add(name, outcome(&mut done, left).await);
        }
        report
    }

    /// Returns how many resources there are, whether in use or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.slots.lock().len()
    }

    /// Returns whether there are no resources.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the state of up to `limit` resources.
    #[must_use]
    pub fn snapshot(&self, limit: usize) -> Vec<ResourceSnapshot> {
        let slots = self.inner.slots.lock();
        let resources = slots.iter().take(limit);
        resources
            .map(|(id, resource)| ResourceSnapshot::of(id, resource))
            .collect()
    }
}

/// Waits for the outcome of a close, up to `limit`.
async fn outcome(
    done: &mut watch::Receiver<Option<CloseOutcome>>,
    limit: Duration,
) -> CloseOutcome {
    match timeout(limit, done.wait_for(Option::is_some)).await {
        Ok(Ok(outcome)) => outcome.unwrap_or(CloseOutcome::Closed),
        // The runtime has shut down and dropped the closer.
        Ok(Err(_)) => CloseOutcome::Dropped,
        // The closer has a timeout of its own, so a guard is still there.
        Err(_) => CloseOutcome::InUse,
    }
}

impl<T: Send + Sync + 'static> Drop for Inner<T> {
    fn drop(&mut self) {
        for resource in self.slots.get_mut().take_all() {
            release(resource, CloseReason::Shutdown);
        }
    }
}

impl<T: Send + Sync + 'static> Clone for Registry<T> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<T: Send + Sync + 'static> Default for Registry<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Registry<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for UseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the resource is closed",
            Self::Unknown => "the resource is not in this registry",
        })
    }
}

impl Error for UseError {}
