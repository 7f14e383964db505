//! Signals as triggers.

use std::future::Future;
use std::sync::Arc;

use crate::shared::Shared;
use crate::trigger::Trigger;

/// From the call on, signals do not end the process any more; the future passes them
/// on, for ever.
#[cfg(unix)]
pub(crate) fn listen(shared: &Arc<Shared>) -> impl Future<Output = ()> + Send + use<> {
    use tokio::signal::unix::{Signal, SignalKind, signal};

    fn register(kind: SignalKind, trigger: Trigger) -> Option<Signal> {
        signal(kind)
            .inspect_err(|error| tracing::error!("{trigger} cannot be listened to: {error}"))
            .ok()
    }

    async fn received(signal: &mut Option<Signal>) {
        if let Some(it) = signal
            && it.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }

    let mut terminate = register(SignalKind::terminate(), Trigger::Terminate);
    let mut interrupt = register(SignalKind::interrupt(), Trigger::Interrupt);
    let shared = Arc::clone(shared);
    async move {
        loop {
            tokio::select! {
                () = received(&mut terminate) => shared.trigger(Trigger::Terminate),
                () = received(&mut interrupt) => shared.trigger(Trigger::Interrupt),
            };
        }
    }
}

/// Ctrl-C, which is all that there is.
#[cfg(not(unix))]
pub(crate) fn listen(shared: &Arc<Shared>) -> impl Future<Output = ()> + Send + use<> {
    let shared = Arc::clone(shared);
    async move {
        while let Ok(()) = tokio::signal::ctrl_c().await {
            shared.trigger(Trigger::Interrupt);
        }
    }
}
