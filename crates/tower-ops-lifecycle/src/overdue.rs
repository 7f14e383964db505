//! The end of a process that does not end by itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::phase::Phase;
use crate::shared::Shared;
use crate::trigger::Trigger;

/// How often it looks: only while the process stops.
const LOOK: Duration = Duration::from_millis(50);

/// Has a thread see to it that the process ends. A thread, since what keeps the process may be
/// every runtime that it has.
pub(crate) fn watch(shared: &Arc<Shared>, signal: Trigger) {
    if shared.overdue_watched.swap(true, Ordering::AcqRel) {
        return;
    }
    let watched = Arc::clone(shared);
    let named = thread::Builder::new().name("shutdown-overdue".into());
    let spawned = named.spawn(move || {
        let shared = watched;
        let first = shared.moments().first;
        let triggered = first.map_or_else(Instant::now, |first| first.at);
        let overdue = shared.config.timeline.overdue_at(triggered);
        while shared.phase() < Phase::Stopped && Instant::now() < overdue {
            thread::sleep(LOOK);
        }
        if shared.phase() == Phase::Stopped {
            thread::sleep(shared.config.timeline.exiting());
        }
        shared.exit_late(signal);
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "nobody sees to it that the process ends in time");
    }
}
