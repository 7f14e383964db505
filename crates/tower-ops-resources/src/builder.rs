use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tower_ops_core::config::ConfigError;
use tower_ops_core::recorder::{RecorderHandle, SharedRecorder};

use crate::registry::Registry;
use crate::resource::Guard;

type Verdict = Result<(), Box<dyn Error + Send + Sync>>;
type HealthCheck<T> =
    Arc<dyn Fn(Guard<T>) -> Pin<Box<dyn Future<Output = Verdict> + Send>> + Send + Sync>;

/// Configures a [`Registry`]. Made by [`Registry::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct RegistryBuilder<T: Send + Sync + 'static> {
    settings: Settings<T>,
    auto_close_on_idle: bool,
    recorder: Option<SharedRecorder>,
}

pub(crate) struct Settings<T: Send + Sync + 'static> {
    pub(crate) health_check_interval: Duration,
    /// `None` if nothing is closed for idleness.
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) close_timeout: Duration,
    pub(crate) health_check: Option<HealthCheck<T>>,
}

impl<T: Send + Sync + 'static> Default for RegistryBuilder<T> {
    fn default() -> Self {
        Self {
            settings: Settings {
                health_check_interval: Duration::from_secs(60),
                idle_timeout: Some(Duration::from_secs(300)),
                close_timeout: Duration::from_secs(10),
                health_check: None,
            },
            auto_close_on_idle: true,
            recorder: None,
        }
    }
}

impl<T: Send + Sync + 'static> RegistryBuilder<T> {
    /// Sets how often the resources that are not in use are looked at and checked. 60 seconds by
    /// default.
    pub const fn health_check_interval(mut self, interval: Duration) -> Self {
        self.settings.health_check_interval = interval;
        self
    }

    /// Sets after how long without use a resource is closed. 300 seconds by default.
    pub const fn idle_timeout(mut self, limit: Duration) -> Self {
        self.settings.idle_timeout = Some(limit);
        self
    }

    /// Sets whether idle resources are closed. On by default.
    pub const fn auto_close_on_idle(mut self, close: bool) -> Self {
        self.auto_close_on_idle = close;
        self
    }

    /// Limits how long a closer takes, and a health check. 10 seconds by default.
    pub const fn close_timeout(mut self, limit: Duration) -> Self {
        self.settings.close_timeout = limit;
        self
    }

    /// Checks the resources that are not in use. A resource is closed if its check fails, panics or
    /// takes longer than the close timeout. No check by default.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_ops_resources::Registry;
    ///
    /// # struct Db;
    /// # impl Db { async fn ping(&self) -> Result<(), std::io::Error> { Ok(()) } }
    /// let registry = Registry::<Db>::builder()
    ///     .health_check(|db| async move { db.ping().await });
    /// # let _ = registry;
    /// ```
    pub fn health_check<C, F, E>(mut self, check: C) -> Self
    where
        C: Fn(Guard<T>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.settings.health_check = Some(Arc::new(move |guard| {
            let checked = check(guard);
            Box::pin(async move { checked.await.map_err(Into::into) })
        }));
        self
    }

    /// Sets the recorder of metrics. The process's recorder by default.
    pub fn recorder(mut self, recorder: SharedRecorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Checks whether this can be built.
    ///
    /// # Errors
    ///
    /// If a setting is invalid. The error lists every problem.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        let settings = &self.settings;
        for (name, duration) in [
            (
                "health_check_interval",
                Some(settings.health_check_interval),
            ),
            ("idle_timeout", settings.idle_timeout),
            ("close_timeout", Some(settings.close_timeout)),
        ] {
            if duration.is_some_and(|duration| duration.is_zero()) {
                problems.push(format!("{name}: is zero; give a duration"));
            }
        }
        ConfigError::from_problems("the resources", problems)
    }

    /// Builds the registry.
    ///
    /// # Errors
    ///
    /// If a setting is invalid. The error lists every problem.
    pub fn build(self) -> Result<Registry<T>, ConfigError> {
        self.validate()?;
        Ok(self.build_valid())
    }

    pub(crate) fn build_valid(self) -> Registry<T> {
        let mut settings = self.settings;
        if !self.auto_close_on_idle {
            settings.idle_timeout = None;
        }
        Registry::from_settings(settings, &RecorderHandle::new(self.recorder))
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for RegistryBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryBuilder")
            .field(
                "health_check_interval",
                &self.settings.health_check_interval,
            )
            .field("idle_timeout", &self.settings.idle_timeout)
            .field("auto_close_on_idle", &self.auto_close_on_idle)
            .field("close_timeout", &self.settings.close_timeout)
            .finish_non_exhaustive()
    }
}
