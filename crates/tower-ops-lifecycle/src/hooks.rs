//! What runs at the end.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::lifecycle::Lifecycle;

type BoxError = Box<dyn Error + Send + Sync>;

impl Lifecycle {
    /// Registers what is to run when the drain is over: close a pool, write a state,
    /// flush telemetry.
    ///
    /// Hooks run one after the other, the last registered first, so that what was made
    /// later and may need what was made earlier goes first; those for
    /// [telemetry](Hook::telemetry) come after all others. A hook that fails, panics or
    /// takes too long is reported and stops nobody else.
    ///
    /// All together have [so long](crate::LifecycleBuilder::hooks). If what they want is
    /// more, those that want little have it, and the others share the rest: one that
    /// hangs leaves all others their part. Each runs on a task of its own; one that never
    /// waits but computes cannot be stopped, and is left behind.
    ///
    /// A hook that is registered while others run, runs next. After them it is logged
    /// and dropped.
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
            tracing::warn!(hook = name, "registered after the last hook: not run");
        }
    }
}

/// The name of a shutdown hook, and how it runs. A text alone is a name.
#[derive(Clone, Debug)]
pub struct Hook {
    name: Cow<'static, str>,
    timeout: Option<Duration>,
    telemetry: bool,
}

impl Hook {
    /// With this name, and as much time as there is.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            timeout: None,
            telemetry: false,
        }
    }

    /// How long it may take at most. As long as all hooks together by default.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Runs it after all hooks that are not for telemetry, so that what those say is
    /// sent, too.
    #[must_use]
    pub const fn telemetry(mut self) -> Self {
        self.telemetry = true;
        self
    }

    fn wants(&self, in_all: Duration) -> Duration {
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

/// What a hook's future may give: nothing, or a `Result` of nothing.
pub trait HookOutput {
    /// The same as a `Result`.
    ///
    /// # Errors
    ///
    /// If it is one.
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

/// Those that have not run.
#[derive(Default)]
pub(crate) struct Hooks {
    waiting: Vec<Registered>,
    over: bool,
}

pub(crate) struct Next {
    pub(crate) name: Cow<'static, str>,
    pub(crate) run: Run,
    /// How long it may want to take.
    pub(crate) wants: Duration,
    /// How long each of those after it may want to.
    pub(crate) later: Vec<Duration>,
}

impl Hooks {
    /// Gives it back when it is too late.
    fn register(&mut self, registered: Registered) -> Option<Registered> {
        if self.over {
            return Some(registered);
        }
        self.waiting.push(registered);
        None
    }

    /// The one whose turn it is. When there is none, it is over.
    pub(crate) fn next(&mut self, in_all: Duration) -> Option<Next> {
        let ordinary = self.waiting.iter().rposition(|it| !it.hook.telemetry);
        let Some(place) = ordinary.or_else(|| self.waiting.len().checked_sub(1)) else {
            self.over = true;
            return None;
        };
        let Registered { hook, run } = self.waiting.remove(place);
        let later = self.waiting.iter().map(|it| it.hook.wants(in_all));
        Some(Next {
            wants: hook.wants(in_all),
            name: hook.name,
            run,
            later: later.collect(),
        })
    }

    /// The names of those that have not run, in the order in which they would.
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
