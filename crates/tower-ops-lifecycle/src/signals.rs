//! Signals as triggers. A thread of its own receives them, so a process whose runtime is stuck gets
//! them, too. When no lifecycle wants a signal, it does what it does by default.

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

/// All lifecycles that listen to signals.
static LISTENING: Mutex<Vec<Weak<LifecycleState>>> = Mutex::new(Vec::new());

/// Until when the SIGTERM that follows a prestop hook may come. It is here and not in a lifecycle,
/// as the signal may come when the lifecycle is dropped and the process is about to exit.
static EXPECTED: Mutex<Option<Instant>> = Mutex::new(None);

/// Ignores the first SIGTERM until then, if no lifecycle wants it: the kubelet always sends one
/// after a prestop hook, and it must not kill a process that has shut down for the hook.
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

/// One thread for all lifecycles. It never ends, as a second signal must end a process that hangs
/// after its shutdown.
static THREAD: OnceLock<()> = OnceLock::new();

/// From this call on, signals no longer end the process, but trigger shutdowns.
pub(crate) fn listen(state: &Arc<LifecycleState>) {
    {
        let mut listening = LISTENING.lock();
        listening.retain(|it| it.strong_count() > 0);
        listening.push(Arc::downgrade(state));
    }
    THREAD.get_or_init(|| {
        if let Err(error) = start() {
            tracing::error!(%error, "cannot listen to signals");
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
    // Wait for it: until it listens, a signal would end the process.
    registers.recv().unwrap_or(Ok(()))
}

fn on_signal(signal: Trigger) {
    // Not under the lock: a trigger may run code of others.
    let listening: Vec<_> = LISTENING.lock().iter().filter_map(Weak::upgrade).collect();
    let wanting: Vec<_> = listening.into_iter().filter(wants_signals).collect();
    let is_expected = is_expected(signal);
    if wanting.is_empty() {
        if !is_expected {
            // The handlers that tokio installed cannot be removed, so do what the default would.
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

/// Whether a lifecycle still wants signals.
fn wants_signals(state: &Arc<LifecycleState>) -> bool {
    // The driver's reference, and the caller's.
    const NO_HANDLES: usize = 2;

    if state.phase() < Phase::Stopped {
        // Without a handle nothing waits for a shutdown, unless it has begun.
        return state.phase().is_stopping() || Arc::strong_count(state) > NO_HANDLES;
    }
    let moments = state.moments();
    match moments.first {
        // A second signal ends a process that hangs after its shutdown, as it is configured.
        Some(_) if moments.was_signalled() => true,
        // The kubelet sends one when the hook was answered, and the shutdown may be over by then.
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
        "no lifecycle listens to the signal: the process ends"
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
    // It fails only if the receiver has panicked.
    let _ = registered.send(Ok(()));
    loop {
        tokio::select! {
            Some(()) = terminate.recv() => on_signal(Trigger::Terminate),
            Some(()) = interrupt.recv() => on_signal(Trigger::Interrupt),
            else => return,
        }
    }
}

/// Here there is only Ctrl-C.
#[cfg(not(unix))]
async fn pass_on(registered: &mpsc::SyncSender<io::Result<()>>) {
    let _ = registered.send(Ok(()));
    while let Ok(()) = tokio::signal::ctrl_c().await {
        on_signal(Trigger::Interrupt);
    }
}

/// How often the thread below looks.
const LOOK: Duration = Duration::from_millis(50);

/// Starts a thread that ends the process when its shutdown is overdue. It is a thread, as all
/// runtimes of the process may be blocked.
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
        tracing::error!(%error, "cannot start the thread that ends the process in time");
    }
}
