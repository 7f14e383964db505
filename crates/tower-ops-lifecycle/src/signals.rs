//! Signals as triggers, heard by a thread of their own: a process whose runtime is stuck hears
//! them as well. Where no lifecycle wants a signal any more, it does what it does by default.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, Weak, mpsc};
use std::thread;

use tokio::runtime;
use tokio::time::Instant;

use crate::lock::lock;
use crate::overdue;
use crate::phase::Phase;
use crate::shared::Shared;
use crate::trigger::Trigger;

/// All that live, and want to hear.
static LISTENING: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// Until when a SIGTERM is on its way that means nothing new. Here, since it may come when the
/// lifecycle is gone and the process about to exit.
static EXPECTED: Mutex<Option<Instant>> = Mutex::new(None);

/// After a prestop hook the kubelet sends a SIGTERM in any case: the first one until then must
/// not end a process that has done what the hook asked for.
pub(crate) fn expect_terminate(until: Instant) {
    *lock(&EXPECTED) = Some(until);
}

fn is_expected(signal: Trigger) -> bool {
    let terminates = signal == Trigger::Terminate;
    terminates
        && lock(&EXPECTED)
            .take()
            .is_some_and(|until| Instant::now() < until)
}

/// One thread for all of them, for ever: a second signal must end a process that hangs after its
/// shutdown.
static THREAD: OnceLock<()> = OnceLock::new();

/// From the call on, signals do not end the process any more, but are passed on.
pub(crate) fn listen(shared: &Arc<Shared>) {
    {
        let mut listening = lock(&LISTENING);
        listening.retain(|it| it.strong_count() > 0);
        listening.push(Arc::downgrade(shared));
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
    let listening: Vec<_> = lock(&LISTENING).iter().filter_map(Weak::upgrade).collect();
    let wanting: Vec<_> = listening.into_iter().filter(wants_signals).collect();
    let is_expected = is_expected(signal);
    if wanting.is_empty() {
        if !is_expected {
            // The handler that was installed for this process cannot be removed again.
            default_action(signal);
        }
        return;
    }
    for shared in wanting {
        if shared.config.exit_when_overdue {
            overdue::watch(&shared, signal);
        }
        shared.trigger(signal);
    }
}

/// Whether a signal still means anything to a lifecycle.
fn wants_signals(shared: &Arc<Shared>) -> bool {
    // The driver's, and the one that was made for this look.
    const NOBODYS: usize = 2;

    if shared.phase() < Phase::Stopped {
        // Without a handle nobody waits for a shutdown, unless one has begun.
        return shared.phase().is_stopping() || Arc::strong_count(shared) > NOBODYS;
    }
    let moments = shared.moments();
    match moments.first {
        // The second one ends a process that hangs after its shutdown, in the way that was asked for.
        Some(_) if moments.was_signalled() => true,
        // The kubelet sends one when the hook was answered, and all may be done by then.
        Some(first) if first.trigger == Trigger::PreStop => {
            Instant::now() < shared.config.timeline.gone_by(first.at)
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
