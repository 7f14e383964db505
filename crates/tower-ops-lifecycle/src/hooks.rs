use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::lifecycle::Lifecycle;

type BoxError = Box<dyn Error + Send + Sync>;

impl Lifecycle {
    /// Registers a hook, which runs after the drain: close a pool, write a state, flush telemetry.
    ///
    /// Hooks run one after the other, the last registered first: what was made later may need what
    /// was made earlier. Hooks for [telemetry](Hook::telemetry) run after all others. A hook that
    /// fails, panics or takes too long is reported and stops no other hook.
    ///
    /// All hooks share [one timeout](crate::LifecycleBuilder::hooks_timeout). If their own timeouts
    /// exceed it, it is split max-min fairly: short hooks get their full timeout, the rest share
    /// what remains, so a hook that hangs cannot starve the others. Each hook runs on a task of its
    /// own. A hook that computes and never waits cannot be stopped; it is left running.
    ///
    /// A hook that is registered while others run, runs next. After the last one it is dropped,
    /// with a warning in the log.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_ops_lifecycle::{Hook, Lifecycle};
    /// # struct Pool;
    /// # impl Pool { async fn close(self) -> std::io::Result<()> { Ok(()) } }
    /// # fn example(lifecycle: Lifecycle, pool: Pool) {
    /// lifecycle.on_stop("pool", async || pool.close().await);
    /// lifecycle.on_stop(
    ///     Hook::new("traces").telemetry().timeout(Duration::from_secs(1)),
    ///     async || { /* flush them */ },
    /// );
    /// # }
    /// ```
    pub fn on_stop<F, Fut>(&self, hook: impl Into<Hook>, run: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output: HookOutput> + Send + 'static,
    {
        let registered = Registered {
            hook: hook.into(),
            run: Box::new(move || Box::pin(async move { run().await.into_result() })),
        };
        let refused = self.state.hooks.lock().register(registered);
        if let Some(refused) = refused {
            let name = &*refused.hook.name;
            tracing::warn!(
                hook = name,
                "the hook was registered after the last one ran and is dropped"
            );
        }
    }
}

/// The name of a shutdown hook, and how it runs. Converts from a name.
#[derive(Clone, Debug)]
pub struct Hook {
    name: Cow<'static, str>,
    timeout: Option<Duration>,
    telemetry: bool,
}

impl Hook {
    /// Makes a hook with this name and without a timeout of its own.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            timeout: None,
            telemetry: false,
        }
    }

    /// Sets how long the hook may take at most. As long as all hooks together by default.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Runs the hook after all that are not for telemetry, so that what those log and trace is
    /// sent.
    #[must_use]
    pub const fn telemetry(mut self) -> Self {
        self.telemetry = true;
        self
    }

    fn timeout_in(&self, in_all: Duration) -> Duration {
        self.timeout.unwrap_or(in_all).min(in_all)
    }
}

impl From<&'static str> for Hook {
    fn from(name: &'static str) -> Self {
        Self::new(name)
    }
}

impl From<String> for Hook {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

/// The output of a hook's future: `()` or `Result<(), E>`.
pub trait HookOutput {
    /// Converts to a `Result`.
    ///
    /// # Errors
    ///
    /// If the hook failed.
    fn into_result(self) -> Result<(), Box<dyn Error + Send + Sync>>;
}

impl HookOutput for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> HookOutput for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

pub(crate) struct Registered {
    hook: Hook,
    run: Run,
}

pub(crate) type Run =
    Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>> + Send>;

/// The hooks that have not run.
#[derive(Default)]
pub(crate) struct Hooks {
    waiting: Vec<Registered>,
    over: bool,
}

pub(crate) struct Next {
    pub(crate) name: Cow<'static, str>,
    pub(crate) run: Run,
    /// How long it may take at most.
    pub(crate) timeout: Duration,
    /// The same of each hook after it.
    pub(crate) later: Vec<Duration>,
}

impl Hooks {
    /// Returns the hook if it is too late for it.
    fn register(&mut self, registered: Registered) -> Option<Registered> {
        if self.over {
            return Some(registered);
        }
        self.waiting.push(registered);
        None
    }

    /// Removes the next hook. If there is none, no more can be registered.
    pub(crate) fn next(&mut self, in_all: Duration) -> Option<Next> {
        let ordinary = self.waiting.iter().rposition(|it| !it.hook.telemetry);
        let Some(place) = ordinary.or_else(|| self.waiting.len().checked_sub(1)) else {
            self.over = true;
            return None;
        };
        let Registered { hook, run } = self.waiting.remove(place);
        let later = self.waiting.iter().map(|it| it.hook.timeout_in(in_all));
        Some(Next {
            timeout: hook.timeout_in(in_all),
            name: hook.name,
            run,
            later: later.collect(),
        })
    }

    /// The names of the hooks, in the order in which they would run.
    pub(crate) fn names(&self) -> Vec<Cow<'static, str>> {
        let of = |telemetry| {
            let those = self.waiting.iter().rev();
            those.filter(move |it| it.hook.telemetry == telemetry)
        };
        of(false)
            .chain(of(true))
            .map(|it| it.hook.name.clone())
            .collect()
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
