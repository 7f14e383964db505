use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::driver;
use crate::lifecycle::Lifecycle;
use crate::lifecycle::state::LifecycleState;
use crate::phase::Phase;
use crate::report::ParticipantOutcome;

/// The name of a server with a deadline in the report.
const SERVER: &str = "server";

impl Lifecycle {
    /// Makes a future for `axum::serve(…).with_graceful_shutdown` and tonic's
    /// `serve_with_shutdown`. It completes when the drain begins, not at the trigger: those servers
    /// refuse connections once it completes.
    ///
    /// Run the server by [`with_deadline`](Self::with_deadline). Otherwise nothing shows when it
    /// has stopped, and the drain takes its full time, unless a participant [tracks its
    /// requests](Self::track_servers).
    ///
    /// When it is polled, it starts what [`run`](Self::run) starts.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future loses nothing.
    pub fn signal_to_stop(&self) -> impl Future<Output = ()> + Send + use<> {
        self.mark_serving();
        self.state.drain.signal_given.store(true, Ordering::Relaxed);
        let state = Arc::clone(&self.state);
        async move {
            driver::start(&state);
            state.reached(Phase::Draining).await;
        }
    }

    /// Runs a server. The drain lasts until the server ends, and drops it at the drain's deadline.
    ///
    /// Tasks that the server has spawned are not dropped with it: `axum::serve` leaves its
    /// connections to the runtime, which cuts them when `main` returns.
    ///
    /// When it is polled, it starts what [`run`](Self::run) starts.
    ///
    /// # Errors
    ///
    /// If the server did not end by the deadline.
    ///
    /// # Cancel safety
    ///
    /// As cancel safe as `serve`, which is dropped with it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use axum::Router;
    /// # use tokio::net::TcpListener;
    /// # use tower_ops_lifecycle::Lifecycle;
    /// # async fn example(listener: TcpListener, app: Router) -> std::io::Result<()> {
    /// let lifecycle = Lifecycle::new();
    /// let stopped = lifecycle.run();
    /// lifecycle.mark_ready();
    /// let serve = axum::serve(listener, app).with_graceful_shutdown(lifecycle.signal_to_stop());
    /// match lifecycle.with_deadline(serve).await {
    ///     Ok(served) => served?,
    ///     Err(late) => eprintln!("{late}"),
    /// }
    /// lifecycle.shutdown(); // if the server ended by itself
    /// println!("{}", stopped.await);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_deadline<F>(
        &self,
        serve: F,
    ) -> impl Future<Output = Result<F::Output, DeadlineElapsed>> + use<F>
    where
        F: IntoFuture,
    {
        self.mark_serving();
        let guard = self.drain_guard(SERVER);
        let serve = serve.into_future();
        let state = Arc::clone(&self.state);
        async move {
            driver::start(&state);
            let served = tokio::select! {
                biased;
                output = serve => Ok(output),
                deadline = deadline(&state) => Err(deadline),
            };
            // The server is dropped by now. Its guard goes last, so that the report has it.
            note(&state, served.is_ok());
            drop(guard);
            served.map_err(|at| {
                let first = state.moments().first;
                DeadlineElapsed {
                    after: first.map_or(Duration::ZERO, |first| at - first.at),
                }
            })
        }
    }
}

async fn deadline(state: &LifecycleState) -> Instant {
    state.reached(Phase::Draining).await;
    let deadline = state.progress.lock().drain_deadline;
    // There is none if the process stopped without a drain: then it is over.
    let deadline = deadline.unwrap_or_else(Instant::now);
    sleep_until(deadline).await;
    deadline
}

fn note(state: &LifecycleState, in_time: bool) {
    let now = Instant::now();
    let mut progress = state.progress.lock();
    // A server that ended before the drain is no part of it.
    let Some((began, _)) = progress.pre_drain else {
        return;
    };
    let place = progress.begin(SERVER.into(), began);
    if in_time {
        progress.end(place, ParticipantOutcome::Done, now);
    } else {
        progress.aborted(place, 1, Some("still serving at the deadline"));
        progress.end(place, ParticipantOutcome::TimedOut, now);
    }
}

/// The error of [`Lifecycle::with_deadline`]: the server did not end by the drain's deadline, and
/// was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadlineElapsed {
    after: Duration,
}

impl DeadlineElapsed {
    /// Returns how long after the first trigger the deadline was.
    #[must_use]
    pub const fn after(&self) -> Duration {
        self.after
    }
}

impl fmt::Display for DeadlineElapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = self.after;
        write!(
            f,
            "the server was still serving {after:?} after the shutdown began, and was dropped"
        )
    }
}

impl Error for DeadlineElapsed {}
