//! What the process says about itself.

use std::fmt;
use std::sync::Arc;

use crate::builder::HealthBuilder;
use crate::shared::{Flags, Shared};
use crate::{Checks, Liveness, Probes, Readiness, Startup};

/// Holds whether the process has started and is ready, and its checks; makes the services that say so.
///
/// Clones are cheap and share one state: keep one where the process starts and stops, and give the
/// services made from it to a router. A new handle is live, not started and not ready. Marking is
/// idempotent, never waits, and works from any thread, inside a runtime or not.
///
/// # Examples
///
/// ```
/// use tower_ops_health::Health;
///
/// let health = Health::new();
/// let elsewhere = health.clone();
/// assert!(!elsewhere.is_ready());
///
/// health.mark_ready();
/// assert!(elsewhere.is_ready() && elsewhere.is_started());
///
/// health.mark_not_ready();
/// assert!(!elsewhere.is_ready() && elsewhere.is_started());
/// ```
#[derive(Clone)]
pub struct Health {
    pub(crate) shared: Arc<Shared>,
}

impl Health {
    /// Makes a handle that is live, not started and not ready, with the defaults and
    /// without checks. They can be [added](Self::add).
    #[must_use]
    pub fn new() -> Self {
        let built = Self::builder().build();
        built.expect("the defaults are valid")
    }

    /// Begins with the defaults, and without checks.
    pub const fn builder() -> HealthBuilder {
        HealthBuilder::new()
    }

    pub(crate) fn from_shared(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Says that the process wants requests. It has then started, too.
    pub fn mark_ready(&self) {
        self.shared.update_flags(|flags| Flags {
            started: true,
            ready: true,
            ..flags
        });
    }

    /// Says that the process wants no requests for now: it is about to stop, or cannot serve.
    ///
    /// Liveness and start-up stay as they are. Traffic does not end with this call: keep serving
    /// for some seconds, until load balancers have noticed.
    ///
    /// Takes no reason, because the answers are public and could not say it.
    pub fn mark_not_ready(&self) {
        self.shared.update_flags(|flags| Flags {
            ready: false,
            ..flags
        });
    }

    /// Says that the process is stopping: not ready, and for good. gRPC watches say so and stay
    /// open: [`close_watches`](Self::close_watches) when the server accepts no more.
    ///
    /// As [`mark_not_ready`](Self::mark_not_ready), and [`mark_ready`](Self::mark_ready)
    /// does nothing any more.
    pub fn drain(&self) {
        self.shared.update_flags(|flags| Flags {
            draining: true,
            ..flags
        });
    }

    /// Ends each gRPC watch, after [`drain`](Self::drain): call it when the server accepts no more
    /// and has sent GOAWAY, since an open one would keep a graceful shutdown waiting for ever.
    /// Before that a client would open the next one at once, again and again.
    pub fn close_watches(&self) {
        self.shared.update_flags(|flags| Flags {
            draining: true,
            closed: true,
            ..flags
        });
    }

    /// Says that start-up is over, for the rest of the process's life: nothing takes it back.
    ///
    /// Call it when the slow part (migrations, warm-up) is done. [`mark_ready`](Self::mark_ready)
    /// implies it.
    pub fn mark_started(&self) {
        self.shared.update_flags(|flags| Flags {
            started: true,
            ..flags
        });
    }

    /// Tells whether the process says that it wants requests. Checks may say otherwise:
    /// [`status`](Self::status) has both.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.shared.flags().ready
    }

    /// Tells whether the process says that start-up is over.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.shared.flags().started
    }

    /// Waits until the process says that it is ready; returns at once if it does.
    ///
    /// A caller sees the state as it is when its task runs: it may miss a ready moment that ended
    /// before that, and the process may be not ready again by the time the caller goes on.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future loses nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_ops_health::Health;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let health = Health::new();
    /// let starting = health.clone();
    /// tokio::spawn(async move { starting.mark_ready() });
    ///
    /// health.ready().await;
    /// assert!(health.is_ready());
    /// # }
    /// ```
    pub async fn ready(&self) {
        let mut flags = self.shared.subscribe_flags();
        // The only error is "no sender left", and `self` has it.
        let _ = flags.wait_for(|flags| flags.ready).await;
    }

    /// Makes the service that answers whether the process must be restarted.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        Liveness::new(self.clone())
    }

    /// Makes the service that answers whether the process wants requests.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness::new(self.clone())
    }

    /// Makes the service that answers whether start-up is over.
    #[must_use]
    pub fn startup(&self) -> Startup {
        Startup::new(self.clone())
    }

    /// Makes the service that lists checks, as `/checks` does.
    #[must_use]
    pub fn checks(&self) -> Checks {
        Checks::new(self.clone())
    }

    /// Makes one service of all, each at its own path.
    #[must_use]
    pub fn probes(&self) -> Probes {
        Probes::new(self.clone())
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = self.shared.flags();
        let checks: Vec<_> = self.shared.entries().keys().cloned().collect();
        f.debug_struct("Health")
            .field("started", &flags.started)
            .field("ready", &flags.ready)
            .field("checks", &checks)
            .finish()
    }
}
