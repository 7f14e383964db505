//! A panic becomes an event, with the ids of the exchange that it happened in.

use std::panic::{self, PanicHookInfo};
use std::sync::Once;
use std::thread;
use std::time::Duration;

use tower_ops_core::panic::text;

use crate::logs::Logs;

/// How long a process that is about to abort waits for the event to be written.
const BEFORE_ABORT: Duration = Duration::from_secs(1);

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send>;

/// Adds an event to what a panic does. The hook of before is called after it.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(hook(before));
    });
}

fn hook(before: Hook) -> Hook {
    Box::new(move |info| {
        log(info);
        before(info);
    })
}

fn log(info: &PanicHookInfo<'_>) {
    let location = info.location().map(tracing::field::display);
    let thread = thread::current();
    tracing::error!(
        target: "tower_ops::panic",
        location,
        thread = thread.name(),
        "panicked: {}",
        text(info.payload())
    );
    if cfg!(panic = "abort")
        && let Some(logs) = Logs::active()
    {
        // There is nothing else to do about it.
        let _ = logs.flush(BEFORE_ABORT);
    }
}
