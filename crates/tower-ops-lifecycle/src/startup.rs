use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

use tokio::time::Instant;
use tower_ops_core::panic::{catch_future, text};

use self::report::{StartupReport, StepState};
use crate::lifecycle::Lifecycle;
use crate::lifecycle::state::LifecycleState;
use crate::phase::{Phase, Trigger};

pub(crate) mod report;

type BoxError = Box<dyn Error + Send + Sync>;

impl Lifecycle {
    /// Runs one step of the start-up and records how it ends.
    ///
    /// If it fails or panics, the process never gets ready, and a shutdown begins, so that hooks
    /// run. If a shutdown is triggered meanwhile, the step is dropped where it waits. If it must
    /// not be dropped, spawn it and await its handle here.
    ///
    /// When all [registered](crate::LifecycleBuilder::expect_step) steps are done and no other
    /// runs, the process is ready.
    ///
    /// # Errors
    ///
    /// If the step failed, panicked or was interrupted; the error has its name and cause.
    ///
    /// # Cancel safety
    ///
    /// As cancel safe as `work`, which is dropped with it. The step is then recorded as dropped,
    /// and may run again.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::convert::Infallible;
    /// # use tower_ops_lifecycle::{Lifecycle, StepError};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let lifecycle = Lifecycle::builder().expect_step("cache").build()?;
    /// let cache = lifecycle
    ///     .step("cache", async { Ok::<_, Infallible>(vec![1, 2, 3]) })
    ///     .await?;
    /// assert!(lifecycle.is_started());
    /// println!("{}", lifecycle.startup_report());
    /// # drop(cache);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn step<T, E, F>(
        &self,
        name: impl Into<Cow<'static, str>>,
        work: F,
    ) -> Result<T, StepError>
    where
        F: IntoFuture<Output = Result<T, E>>,
        E: Into<BoxError>,
    {
        let step = Running::begin(Arc::clone(&self.state), name.into());
        let result = tokio::select! {
            // First, so that no step begins during a shutdown.
            biased;
            _ = self.state.reached(Phase::PreDraining) => Err(Cause::Interrupted),
            result = catch_future(work.into_future()) => match result {
                Ok(Ok(output)) => Ok(output),
                Ok(Err(error)) => Err(Cause::Failed(error.into())),
                Err(panic) => Err(Cause::Panicked(text(&*panic).to_owned())),
            },
        };
        step.end(result)
    }

    /// Makes the process ready. Idempotent; does nothing once a shutdown was triggered. Returns
    /// whether this call made it ready.
    #[expect(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn mark_ready(&self) -> bool {
        self.state.mark_ready()
    }

    /// Returns whether a [registered](crate::LifecycleBuilder::expect_step) start-up step is not
    /// done. Then the process gets ready by itself, and a server need not call
    /// [`mark_ready`](Self::mark_ready).
    #[must_use]
    pub fn awaits_steps(&self) -> bool {
        self.state.steps.lock().are_awaited()
    }

    /// Returns whether the process has ever been ready.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.state.moments().ready.is_some()
    }

    /// Waits until the process is ready or a shutdown begins, and returns whether it has
    /// [started](Self::is_started).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future loses nothing.
    pub async fn started(&self) -> bool {
        self.state.reached(Phase::Ready).await;
        self.is_started()
    }

    /// Returns the report of the start-up as it is now.
    #[must_use]
    pub fn startup_report(&self) -> StartupReport {
        let ready = self.state.moments().ready;
        self.state
            .steps
            .lock()
            .report(self.state.created, ready, Instant::now())
    }
}

/// A step that runs. If this is dropped before the end, the step is recorded as dropped.
struct Running {
    state: Arc<LifecycleState>,
    name: Cow<'static, str>,
    place: usize,
    ended: bool,
}

impl Running {
    fn begin(state: Arc<LifecycleState>, name: Cow<'static, str>) -> Self {
        let place = state.steps.lock().begin(name.clone(), Instant::now());
        Self {
            state,
            name,
            place,
            ended: false,
        }
    }

    fn end<T>(mut self, result: Result<T, Cause>) -> Result<T, StepError> {
        let trigger = || {
            let first = self.state.moments().first;
            first.map_or(Trigger::Api, |first| first.trigger)
        };
        let state = match &result {
            Ok(_) => StepState::Done,
            Err(Cause::Failed(error)) => StepState::Failed(error.to_string()),
            Err(Cause::Panicked(message)) => StepState::Panicked(message.clone()),
            Err(Cause::Interrupted) => StepState::Interrupted(trigger()),
        };
        self.record(state);
        result.map_err(|cause| {
            if !matches!(cause, Cause::Interrupted) {
                self.state.trigger(Trigger::FailedStart);
            }
            StepError {
                name: std::mem::take(&mut self.name),
                cause,
            }
        })
    }

    fn record(&mut self, state: StepState) {
        self.ended = true;
        let text = state.to_string();
        let is_done = state == StepState::Done;
        let (took, all_done) = {
            let mut steps = self.state.steps.lock();
            let took = steps.end(self.place, state, Instant::now());
            (took, is_done && steps.are_done())
        };
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if is_done {
            tracing::info!(step = &*self.name, took_ms, "start-up step done");
        } else {
            tracing::warn!(step = &*self.name, took_ms, "start-up step {text}");
        }
        if all_done {
            self.state.mark_ready();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.record(StepState::Dropped);
        }
    }
}

#[derive(Debug)]
enum Cause {
    Failed(BoxError),
    Panicked(String),
    Interrupted,
}

/// The error of [`Lifecycle::step`]: the step failed, panicked or was interrupted.
#[derive(Debug)]
pub struct StepError {
    name: Cow<'static, str>,
    cause: Cause,
}

impl StepError {
    /// Returns the step's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether a shutdown interrupted the step.
    #[must_use]
    pub const fn is_interrupted(&self) -> bool {
        matches!(self.cause, Cause::Interrupted)
    }

    /// Returns whether the step panicked.
    #[must_use]
    pub const fn is_panic(&self) -> bool {
        matches!(self.cause, Cause::Panicked(_))
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.cause {
            Cause::Failed(error) => write!(f, "the start-up step {name} failed: {error}"),
            Cause::Panicked(message) => write!(f, "the start-up step {name} panicked: {message}"),
            Cause::Interrupted => write!(f, "a shutdown interrupted the start-up step {name}"),
        }
    }
}

impl Error for StepError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            Cause::Failed(error) => Some(&**error),
            Cause::Panicked(_) | Cause::Interrupted => None,
        }
    }
}
