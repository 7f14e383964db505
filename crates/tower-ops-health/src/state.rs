//! What the process says about itself.

use std::fmt;

use tokio::sync::watch;

use crate::{Liveness, Probe, Probes, Readiness, Startup};

/// Holds whether the process has started and is ready, and makes the services that say so.
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
    // Both flags in one channel, so that nobody sees "ready" without "started". No reference into
    // the channel leaves this file: its lock is held only to copy or to set two flags.
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    started: bool,
    ready: bool,
}

impl Health {
    /// Makes a handle that is live, not started and not ready.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: watch::Sender::new(State::default()),
        }
    }

    /// Says that the process wants requests. It has then started, too.
    pub fn mark_ready(&self) {
        self.update(|_| State {
            started: true,
            ready: true,
        });
    }

    /// Says that the process wants no requests for now: it is about to stop, or cannot serve.
    ///
    /// Liveness and start-up stay as they are. Traffic does not end with this call: keep serving
    /// for some seconds, until load balancers have noticed.
    ///
    /// Takes no reason, because the answers are public and could not say it.
    pub fn mark_not_ready(&self) {
        self.update(|state| State {
            ready: false,
            ..state
        });
    }

    /// Says that start-up is over, for the rest of the process's life: nothing takes it back.
    ///
    /// Call it when the slow part (migrations, warm-up) is done. [`mark_ready`](Self::mark_ready)
    /// implies it.
    pub fn mark_started(&self) {
        self.update(|state| State {
            started: true,
            ..state
        });
    }

    /// Tells whether the process wants requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state().ready
    }

    /// Tells whether start-up is over.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.state().started
    }

    /// Waits until the process is ready; returns at once if it is.
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
        let mut state = self.state.subscribe();
        // The only error is "no sender left", and `self` is one.
        let _ = state.wait_for(|state| state.ready).await;
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

    /// Makes one service of all three, each at its [`Probe::path`].
    #[must_use]
    pub fn probes(&self) -> Probes {
        Probes::new(self.clone())
    }

    /// Tells whether `probe` is to be answered with success.
    pub(crate) fn passes(&self, probe: Probe) -> bool {
        match probe {
            Probe::Liveness => true,
            Probe::Readiness => self.is_ready(),
            Probe::Startup => self.is_started(),
        }
    }

    fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Changes the state; wakes waiters only if it did change.
    fn update(&self, change: impl FnOnce(State) -> State) {
        self.state.send_if_modified(|state| {
            let before = std::mem::replace(state, change(*state));
            before != *state
        });
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { started, ready } = self.state();
        f.debug_struct("Health")
            .field("started", &started)
            .field("ready", &ready)
            .finish()
    }
}
