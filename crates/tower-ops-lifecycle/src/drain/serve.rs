//! For servers that are not ours: when to stop, and when to have stopped.

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

/// How a server with a deadline stands in the report.
const SERVER: &str = "server";

impl Lifecycle {
    /// A future for `axum::serve(…).with_graceful_shutdown` and tonic's
    /// `serve_with_shutdown`. It completes when the drain begins: not at the trigger,
    /// because those servers refuse connections from then on.
    ///
    /// Put [`with_deadline`](Self::with_deadline) around the server. Else nothing shows
    /// when it has stopped, and the drain takes its full time, unless a participant
    /// [observes its requests](Self::track_servers).
    ///
    /// Polled, it does what [`run`](Self::run) does.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub fn signal_to_stop(&self) -> impl Future<Output = ()> + Send + use<> {
        self.mark_serving();
        self.state.drain.stops_unseen.store(true, Ordering::Relaxed);
        let state = Arc::clone(&self.state);
        async move {
            driver::start(&state);
            state.reached(Phase::Draining).await;
        }
    }

    /// Runs a server: the drain lasts until it ends, and at the drain's deadline it is
    /// dropped.
    ///
    /// What the server has spawned is not dropped with it: `axum::serve` leaves its
    /// connections to the runtime, which cuts them when `main` returns.
    ///
    /// Polled, it does what [`run`](Self::run) does.
    ///
    /// # Errors
    ///
    /// If it did not end by the deadline.
    ///
    /// # Cancel safety
    ///
    /// May be dropped; the server is dropped with it.
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
    /// lifecycle.shutdown(); // where the server ended by itself
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
            // The server is dropped by now: its guard goes after what it has to say.
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
    // There is none where the process was stopped out of turn: then it is over.
    let deadline = deadline.unwrap_or_else(Instant::now);
    sleep_until(deadline).await;
    deadline
}

fn note(state: &LifecycleState, in_time: bool) {
    let now = Instant::now();
    let mut progress = state.progress.lock();
    // One that ended before the drain has no part in it.
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

/// A server did not end by the drain's deadline, and was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadlineElapsed {
    after: Duration,
}

impl DeadlineElapsed {
    /// How long after the trigger that was.
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
