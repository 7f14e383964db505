//! Signals as triggers, heard by a thread of their own: a process whose runtime is stuck hears
//! them as well. Where no lifecycle wants a signal any more, it does what it does by default.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak, mpsc};
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::time::Instant;
use tower_ops_core::sync::Mutex;

use crate::lifecycle::state::LifecycleState;
use crate::phase::{Phase, Trigger};

/// All that live, and want to hear.
static LISTENING: Mutex<Vec<Weak<LifecycleState>>> = Mutex::new(Vec::new());

/// Until when a SIGTERM is on its way that means nothing new. Here, since it may come when the
/// lifecycle is gone and the process about to exit.
static EXPECTED: Mutex<Option<Instant>> = Mutex::new(None);

/// After a prestop hook the kubelet sends a SIGTERM in any case: the first one until then must
/// not end a process that has done what the hook asked for.
pub(crate) fn expect_terminate(until: Instant) {
    *EXPECTED.lock() = Some(until);
}

fn is_expected(signal: Trigger) -> bool {
    let terminates = signal == Trigger::Terminate;
    terminates
        && EXPECTED
            .lock()
            .take()
            .is_some_and(|until| Instant::now() < until)
}

/// One thread for all of them, for ever: a second signal must end a process that hangs after its
/// shutdown.
static THREAD: OnceLock<()> = OnceLock::new();

/// From the call on, signals do not end the process any more, but are passed on.
pub(crate) fn listen(state: &Arc<LifecycleState>) {
    {
        let mut listening = LISTENING.lock();
        listening.retain(|it| it.strong_count() > 0);
        listening.push(Arc::downgrade(state));
    }
    THREAD.get_or_init(|| {
        if let Err(error) = start() {
            tracing::error!(%error, "signals cannot be listened to");
        }
    });
}

fn start() -> io::Result<()> {
    let (registered, registers) = mpsc::sync_channel(1);
    let named = thread::Builder::new().name("signals".into());
    named.spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_io().build();
        match runtime {
            Ok(runtime) => runtime.block_on(pass_on(&registered)),
            Err(error) => drop(registered.send(Err(error))),
        }
    })?;
    // Until it listens, a signal would end the process.
    registers.recv().unwrap_or(Ok(()))
}

fn on_signal(signal: Trigger) {
    // Without the lock: a trigger may do anything.
    let listening: Vec<_> = LISTENING.lock().iter().filter_map(Weak::upgrade).collect();
    let wanting: Vec<_> = listening.into_iter().filter(wants_signals).collect();
    let is_expected = is_expected(signal);
    if wanting.is_empty() {
        if !is_expected {
            // The handler that was installed for this process cannot be removed again.
            default_action(signal);
        }
        return;
    }
    for state in wanting {
        if state.config.exit_when_overdue {
            watch_overdue(&state, signal);
        }
        state.trigger(signal);
    }
}

/// Whether a signal still means anything to a lifecycle.
fn wants_signals(state: &Arc<LifecycleState>) -> bool {
    // The driver's, and the one that was made for this look.
    const NOBODYS: usize = 2;

    if state.phase() < Phase::Stopped {
        // Without a handle nobody waits for a shutdown, unless one has begun.
        return state.phase().is_stopping() || Arc::strong_count(state) > NOBODYS;
    }
    let moments = state.moments();
    match moments.first {
        // The second one ends a process that hangs after its shutdown, in the way that was asked for.
        Some(_) if moments.was_signalled() => true,
        // The kubelet sends one when the hook was answered, and all may be done by then.
        Some(first) if first.trigger == Trigger::PreStop => {
            Instant::now() < state.config.timeline.exit_deadline(first.at)
        }
        _ => false,
    }
}

#[cfg(unix)]
fn default_action(signal: Trigger) {
    let number = signal.exit_code() - 128;
    tracing::info!(
        signal = signal.as_str(),
        "nothing listens to the signal: the process ends"
    );
    if signal_hook::low_level::emulate_default_handler(number).is_err() {
        std::process::exit(signal.exit_code());
    }
}

#[cfg(not(unix))]
fn default_action(signal: Trigger) {
    std::process::exit(signal.exit_code());
}

#[cfg(unix)]
async fn pass_on(registered: &mpsc::SyncSender<io::Result<()>>) {
    use tokio::signal::unix::{SignalKind, signal};

    let terminate = signal(SignalKind::terminate());
    let interrupt = signal(SignalKind::interrupt());
    let (mut terminate, mut interrupt) = match (terminate, interrupt) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => return drop(registered.send(Err(error))),
    };
    // Only if who waits for it has panicked.
    let _ = registered.send(Ok(()));
    loop {
        tokio::select! {
            Some(()) = terminate.recv() => on_signal(Trigger::Terminate),
            Some(()) = interrupt.recv() => on_signal(Trigger::Interrupt),
            else => return,
        }
    }
}

/// Ctrl-C, which is all that there is.
#[cfg(not(unix))]
async fn pass_on(registered: &mpsc::SyncSender<io::Result<()>>) {
    let _ = registered.send(Ok(()));
    while let Ok(()) = tokio::signal::ctrl_c().await {
        on_signal(Trigger::Interrupt);
    }
}

/// How often it looks: only while the process stops.
const LOOK: Duration = Duration::from_millis(50);

/// Has a thread see to it that the process ends. A thread, since what keeps the process may be
/// every runtime that it has.
fn watch_overdue(state: &Arc<LifecycleState>, signal: Trigger) {
    if state.overdue_watched.swap(true, Ordering::AcqRel) {
        return;
    }
    let watched = Arc::clone(state);
    let named = thread::Builder::new().name("shutdown-overdue".into());
    let spawned = named.spawn(move || {
        let state = watched;
        let first = state.moments().first;
        let triggered = first.map_or_else(Instant::now, |first| first.at);
        let overdue = state.config.timeline.overdue_at(triggered);
        while state.phase() < Phase::Stopped && Instant::now() < overdue {
            thread::sleep(LOOK);
        }
        if state.phase() == Phase::Stopped {
            thread::sleep(state.config.timeline.exiting());
        }
        state.exit_late(signal);
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "nobody sees to it that the process ends in time");
    }
}
