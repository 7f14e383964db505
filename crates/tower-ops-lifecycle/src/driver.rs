//! The task that carries out the shutdown. Only this task moves the phase past
//! [`Phase::PreDraining`], except for a second signal and an overdue process.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tower_ops_core::panic::{catch_future, text};

use crate::drain::Drain;
use crate::lifecycle::state::LifecycleState;
use crate::phase::{Phase, Subscription, Triggered};
use crate::report::{HookOutcome, HookReport, ParticipantOutcome, PreDrainEnd, ShutdownEnding};
use crate::signals;
use crate::timeline::allot;

const UPTIME_EVERY: Duration = Duration::from_secs(5);

/// Starts the driver, unless it runs already.
#[track_caller]
pub(crate) fn start(state: &Arc<LifecycleState>) {
    // First, as it panics without a runtime, and the driver has not started then.
    let runtime = Handle::current();
    if state.driven.swap(true, Ordering::AcqRel) {
        return;
    }
    let workers = state.config.workers;
    let workers = workers.unwrap_or_else(|| runtime.metrics().num_workers());
    state.metrics.set_workers(workers);
    if state.config.signals {
        signals::listen(state);
    }
    runtime.spawn(drive(Arc::clone(state)));
}

/// Ends the shutdown, also if the task is dropped.
fn drive(state: Arc<LifecycleState>) -> impl Future<Output = ()> + Send {
    // Made here and not in the block: it exists even if the task is dropped before its first poll.
    let driven = Driven(state);
    async move {
        let state = &driven.0;
        tokio::select! {
            biased;
            // Stopped by a second signal. First, as the shutdown did not complete then.
            _ = state.reached(Phase::Stopped) => {}
            () = carry_out(state) => {
                state.finish(ShutdownEnding::Completed);
            }
        }
    }
}

struct Driven(Arc<LifecycleState>);

impl Drop for Driven {
    fn drop(&mut self) {
        // If it was not finished, the runtime ends and drops this task.
        self.0.finish(ShutdownEnding::CutOff);
    }
}

async fn carry_out(state: &Arc<LifecycleState>) {
    let Some(first) = triggered(state).await else {
        return;
    };
    notify_systemd(state, Phase::PreDraining);
    let how = pre_drain(state, first).await;
    drain(state, first, how).await;
    run_hooks(state, first).await;
}

async fn triggered(state: &LifecycleState) -> Option<Triggered> {
    let mut phases = Subscription::new(state.subscribe());
    let mut ticks = interval(UPTIME_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut phase = phases.phase();
    loop {
        if phase == Phase::Ready {
            notify_systemd(state, phase);
        } else if phase.is_stopping() {
            return state.moments().first;
        }
        phase = loop {
            tokio::select! {
                biased;
                changed = phases.changed() => break changed?,
                _ = ticks.tick() => state.metrics.set_uptime(state.created.elapsed()),
            }
        };
    }
}

async fn pre_drain(state: &LifecycleState, first: Triggered) -> PreDrainEnd {
    let until = state.config.timeline.pre_drain_until(first.at);
    let last = state.last_connection();
    let served = state.is_serving() || matches!(last, Ok(Some(_)));
    if state.moments().ready.is_none() && !served {
        return PreDrainEnd::Skipped;
    }
    let Some(window) = state.config.quiet else {
        sleep_until(until).await;
        return PreDrainEnd::Full;
    };
    loop {
        let Ok(last) = state.last_connection() else {
            tracing::warn!(
                "wait_for_quiet: the time of the last connection is not known, so the pre-drain \
                 takes its full time"
            );
            sleep_until(until).await;
            return PreDrainEnd::Full;
        };
        let since = last.map_or(first.at, |last| last.max(first.at));
        let quiet = since.checked_add(window).map_or(until, |it| it.min(until));
        if quiet <= Instant::now() {
            return if quiet < until {
                PreDrainEnd::Quiet
            } else {
                PreDrainEnd::Full
            };
        }
        sleep_until(quiet).await;
    }
}

async fn drain(state: &Arc<LifecycleState>, first: Triggered, how: PreDrainEnd) {
    let began = Instant::now();
    let deadline = state.config.timeline.drain_until(first.at, began);
    {
        let last_connection = state.last_connection().ok().flatten();
        let mut progress = state.progress.lock();
        progress.pre_drain = Some((began, how));
        progress.last_connection = last_connection;
        // Before the phase: those that see the phase read it.
        progress.drain_deadline = Some(deadline);
    }
    state.advance(Phase::Draining);

    let full_time = state.drain.takes_full_time();
    if full_time {
        tracing::warn!(
            "signal_to_stop is used without with_deadline, a guard or a participant: the drain \
             takes its full time, as it does not know when the server has stopped"
        );
    }
    // No participant can abort what such a server has, so no time is spent on it.
    let hard = if full_time {
        deadline
    } else {
        deadline + state.config.timeline.abort
    };
    let mut tasks = JoinSet::new();
    loop {
        for participant in state.drain.take_registered() {
            let place = state
                .progress
                .lock()
                .begin(participant.name, Instant::now());
            let drain = Drain {
                state: Arc::clone(state),
                deadline,
                place,
            };
            let begin = participant.begin;
            // The call is in the task, too, as it may panic.
            tasks.spawn(async move { (place, catch_future(async { begin(drain).await }).await) });
        }
        if tasks.is_empty() && !full_time && state.drain.end_if_idle() {
            break;
        }
        tokio::select! {
            biased;
            Some(ended) = tasks.join_next() => {
                // It cannot be an error: nothing aborts these tasks here.
                if let Ok((place, result)) = ended {
                    let outcome = match result {
                        Ok(()) => ParticipantOutcome::Done,
                        Err(panic) => ParticipantOutcome::Panicked(text(&*panic).to_owned()),
                    };
                    state.progress.lock().end(place, outcome, Instant::now());
                }
            }
            () = state.drain.changed.notified() => {}
            () = sleep_until(hard) => break,
        }
    }
    tasks.abort_all();
    end_drain(state);
}

/// Records what has not ended.
fn end_drain(state: &LifecycleState) {
    let now = Instant::now();
    let held = state.drain.end();
    let mut progress = state.progress.lock();
    for participant in &mut progress.participants {
        if participant.ended.is_none() {
            participant.ended = Some(now);
            participant.outcome = ParticipantOutcome::TimedOut;
        }
    }
    let began = progress.pre_drain.map_or(now, |(began, _)| began);
    for (name, count, since) in held {
        let line = format!("{count} still held, the oldest for {:?}", now - since);
        let place = progress.begin(name, began);
        progress.aborted(place, count, Some(&line));
        progress.end(place, ParticipantOutcome::TimedOut, now);
    }
    progress.drained = Some(now);
}

async fn run_hooks(state: &LifecycleState, first: Triggered) {
    let in_all = state.config.timeline.hooks;
    let until = state.config.timeline.hooks_until(first.at, Instant::now());
    loop {
        let Some(next) = state.hooks.lock().next(in_all) else {
            return;
        };
        let began = Instant::now();
        let remaining = until.saturating_duration_since(began);
        let limit = allot(remaining, next.timeout, &next.later);
        state.progress.lock().hook = Some((next.name.clone(), began));
        let outcome = if limit.is_zero() {
            HookOutcome::NotRun
        } else {
            let mut task = JoinSet::new();
            let run = next.run;
            // The call is in the task, too, as it may panic.
            task.spawn(catch_future(async move { run().await }));
            match timeout(limit, task.join_next()).await {
                Ok(Some(Ok(Ok(Ok(()))))) => HookOutcome::Done,
                Ok(Some(Ok(Ok(Err(error))))) => HookOutcome::Failed(error.to_string()),
                Ok(Some(Ok(Err(panic)))) => HookOutcome::Panicked(text(&*panic).to_owned()),
                // Nothing aborts the task, so the time is over.
                Ok(Some(Err(_)) | None) | Err(_) => HookOutcome::TimedOut,
            }
        };
        let mut progress = state.progress.lock();
        progress.hook = None;
        progress.hooks.push(HookReport {
            name: next.name,
            outcome,
            took: began.elapsed(),
        });
    }
}

#[cfg(all(unix, feature = "systemd"))]
fn notify_systemd(state: &LifecycleState, phase: Phase) {
    if state.config.systemd {
        crate::systemd::notify(phase);
    }
}

#[cfg(not(all(unix, feature = "systemd")))]
const fn notify_systemd(_: &LifecycleState, _: Phase) {}
