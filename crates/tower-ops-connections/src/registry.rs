//! Anything that lives long and must be closed when nobody uses it.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

mod builder;
mod close;
mod janitor;
mod resource;
mod slots;

pub use self::builder::RegistryBuilder;
pub use self::close::{CloseAllReport, CloseOutcome, RegistryCloseReason};
pub use self::resource::{Guard, ResourceSnapshot};
pub use self::slots::ResourceId;

use self::builder::Settings;
use self::close::Meter;
use self::resource::Resource;
use self::slots::Slots;
use crate::clock::after;
use crate::connections::duty::Duty;

/// Keeps what lives long (connections to a database, channels, sessions) and closes
/// it when nobody uses it: exactly once, and never while it is in use. Cheap to
/// clone.
///
/// Every [health check interval](RegistryBuilder::health_check_interval), a minute
/// unless told otherwise, one task looks at all that is not in use. What has been
/// idle for the [idle timeout](RegistryBuilder::idle_timeout) is closed, so with the
/// defaults between 300 and 360 seconds after its last use; what fails its health
/// check is closed as well.
///
/// When the last handle is dropped, everything is closed in the background; call
/// [`close_all`](Self::close_all) to wait for it.
///
/// # Examples
///
/// ```
/// use tower_ops_connections::Registry;
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
    inner: Arc<Inner<T>>,
}

struct Inner<T: Send + Sync + 'static> {
    slots: Mutex<Slots<T>>,
    settings: Settings<T>,
    meter: Arc<Meter>,
    janitor: Arc<Duty>,
}

/// Why a resource cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UseError {
    /// It is closed, or being closed.
    Closed,
    /// This registry never had it.
    Unknown,
}

impl<T: Send + Sync + 'static> Registry<T> {
    /// With the defaults: see [`RegistryBuilder`].
    #[must_use]
    pub fn new() -> Self {
        RegistryBuilder::default().build_checked()
    }

    /// Begins with the defaults.
    pub fn builder() -> RegistryBuilder<T> {
        RegistryBuilder::default()
    }

    fn from_settings(settings: Settings<T>, meter: Meter) -> Self {
        Self {
            inner: Arc::new(Inner {
                slots: Mutex::default(),
                settings,
                meter: Arc::new(meter),
                janitor: Arc::default(),
            }),
        }
    }

    /// Takes `connection` into its care, under a name for reports.
    ///
    /// `close` is called once, with the connection, when it is to be closed, on a
    /// task of its own. It has the [close timeout](RegistryBuilder::close_timeout);
    /// a panic in it is reported. What it returns is dropped: it has to see to its
    /// errors itself.
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
            Arc::clone(&self.inner.meter),
        );
        self.inner.meter.registered();
        let id = self.inner.slots().insert(Arc::new(resource));
        let inner = Arc::downgrade(&self.inner);
        self.inner
            .janitor
            .ensure(&runtime, |turn| janitor::run(turn, inner));
        id
    }

    /// The resource, for as long as the guard lives. Several may use it at once.
    ///
    /// # Errors
    ///
    /// If it is closed, or not of this registry.
    pub fn use_connection(&self, id: ResourceId) -> Result<Guard<T>, UseError> {
        self.inner.slots().get(id).map(Guard::new)
    }

    /// Closes a resource: nobody can use it from now on, and when those who do are
    /// done, its closer runs. Waits for it, up to the close timeout for those who
    /// use it and once more for the closer.
    ///
    /// # Errors
    ///
    /// If it is closed already, or not of this registry.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the close goes on without the future.
    pub async fn close(&self, id: ResourceId) -> Result<CloseOutcome, UseError> {
        let resource = self.inner.slots().remove(id)?;
        let limit = self.inner.settings.close_timeout;
        let mut done = resource.done();
        resource::release(resource, RegistryCloseReason::Manual);
        // The closer has a limit of its own; a resource in use holds it up.
        let deadline = after(Instant::now(), limit.saturating_mul(2));
        let outcome = timeout_at(deadline, done.wait_for(Option::is_some)).await;
        Ok(match outcome {
            Ok(Ok(outcome)) => outcome.unwrap_or(CloseOutcome::Closed),
            // The runtime is shutting down and took the closer with it.
            Ok(Err(_)) => CloseOutcome::Dropped,
            Err(_) => CloseOutcome::InUse,
        })
    }

    /// Closes everything, and waits for it up to the deadline.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the closes go on without the future.
    pub async fn close_all(&self, deadline: Duration) -> CloseAllReport {
        let until = after(Instant::now(), deadline);
        let resources = self.inner.slots().take_all();
        // All are told before the first is waited for.
        let waiting: Vec<_> = resources
            .into_iter()
            .map(|resource| {
                let waiting = (resource.name.clone(), resource.done());
                resource::release(resource, RegistryCloseReason::Shutdown);
                waiting
            })
            .collect();
        let mut report = CloseAllReport::default();
        for (name, mut done) in waiting {
            let outcome = match timeout_at(until, done.wait_for(Option::is_some)).await {
                Ok(Ok(outcome)) => outcome.unwrap_or(CloseOutcome::Closed),
                Ok(Err(_)) => CloseOutcome::Dropped,
                Err(_) => CloseOutcome::InUse,
            };
            report.add(name, outcome);
        }
        report
    }

    /// How many resources there are, those in use and those that are not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.slots().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What resources are like, up to `limit` of them.
    #[must_use]
    pub fn snapshot(&self, limit: usize) -> Vec<ResourceSnapshot> {
        let slots = self.inner.slots();
        let resources = slots.iter().take(limit);
        resources
            .map(|(id, resource)| ResourceSnapshot::of(id, resource))
            .collect()
    }
}

impl<T: Send + Sync + 'static> Inner<T> {
    fn slots(&self) -> MutexGuard<'_, Slots<T>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + Sync + 'static> Drop for Inner<T> {
    fn drop(&mut self) {
        let slots = self.slots.get_mut();
        let slots = slots.unwrap_or_else(PoisonError::into_inner);
        for resource in slots.take_all() {
            resource::release(resource, RegistryCloseReason::Shutdown);
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
            Self::Unknown => "the registry does not know the resource",
        })
    }
}

impl Error for UseError {}
