//! Signals as triggers, heard by a thread of their own: a process whose runtime is stuck hears
//! them as well.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, Weak, mpsc};
use std::thread;

use tokio::runtime;

use crate::lock::lock;
use crate::overdue;
use crate::shared::Shared;
use crate::trigger::Trigger;

/// All that live, and want to hear.
static LISTENING: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

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
    for shared in listening {
        if shared.config.exit_when_overdue {
            overdue::watch(&shared, signal);
        }
        shared.trigger(signal);
    }
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
