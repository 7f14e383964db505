use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::limits::Verdict;
use crate::metrics::ListenerMetrics;
use crate::shards::SHARDS;
use crate::shared::Shared;
use crate::{CloseReason, Connection};

/// In how many steps the reaper makes a pass, spread evenly over the interval.
const STEPS: usize = 16;

impl Shared {
    /// Sees to it that the connections are looked at. The reaper ends when there
    /// are none, and with the runtime that it was started on.
    pub(crate) fn ensure_reaper(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let mut reaper = self.reaper.lock().unwrap_or_else(PoisonError::into_inner);
        if reaper.as_ref().is_none_or(|reaper| reaper.is_finished()) {
            let task = runtime.spawn(reap(Arc::downgrade(self), self.limits.pass()));
            *reaper = Some(task.abort_handle());
        }
    }

    /// Whether the reaper may go: nothing is there, and whoever comes starts
    /// another one.
    fn dismiss_reaper(&self) -> bool {
        let mut reaper = self.reaper.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.open() == 0;
        if done {
            *reaper = None;
        }
        done
    }
}

/// Looks at every connection once an interval.
async fn reap(shared: Weak<Shared>, interval: Duration) {
    let mut pass = Pass::default();
    loop {
        for step in 0..STEPS {
            sleep(interval / 16).await;
            // Held for the step only: connections keep what they need themselves.
            let Some(shared) = shared.upgrade() else {
                return;
            };
            if shared.dismiss_reaper() {
                Pass::default().finish(&shared);
                return;
            }
            let begun = Instant::now();
            for shard in (0..SHARDS).filter(|shard| shard % STEPS == step) {
                pass.look_at(&shared, shard);
            }
            pass.took += begun.elapsed();
            if step == STEPS - 1 {
                std::mem::take(&mut pass).finish(&shared);
            }
        }
    }
}

/// What a pass has found so far.
#[derive(Default)]
pub(crate) struct Pass {
    took: Duration,
    idle: Vec<(Arc<ListenerMetrics>, u32)>,
}

impl Pass {
    pub(crate) fn look_at(&mut self, shared: &Shared, shard: usize) {
        let now = shared.clock.now();
        // What is to be done is done without the lock: it wakes tasks and tells
        // whoever listens.
        let mut due: Vec<(Connection, Verdict)> = Vec::new();
        for (_, connection) in shared.shards.lock(shard).iter() {
            let record = &*connection.record;
            record.listener.tell_bytes(record);
            if !record.state.seen().is_busy() {
                self.count_idle(&record.listener);
            }
            match shared.limits.judge(record, now) {
                Verdict::Leave => {}
                verdict => due.push((connection.clone(), verdict)),
            }
        }
        for (connection, verdict) in due {
            carry_out(shared, &connection, verdict);
        }
    }

    fn count_idle(&mut self, listener: &Arc<ListenerMetrics>) {
        let known = self
            .idle
            .iter_mut()
            .find(|(known, _)| Arc::ptr_eq(known, listener));
        match known {
            Some((_, count)) => *count += 1,
            None => self.idle.push((Arc::clone(listener), 1)),
        }
    }

    fn finish(self, shared: &Shared) {
        shared.pass.record(self.took.as_secs_f64());
        for listener in shared.listeners() {
            let found = self
                .idle
                .iter()
                .find(|(known, _)| Arc::ptr_eq(known, &listener));
            let count = found.map_or(0, |(_, count)| *count);
            listener.idle.set(f64::from(count));
        }
    }
}

fn carry_out(shared: &Shared, connection: &Connection, verdict: Verdict) {
    match verdict {
        Verdict::Leave => {}
        Verdict::CloseIdle => {
            connection.close_idle();
        }
        Verdict::Close(reason) => {
            connection.request_close(reason);
            // A peer that does not read takes no goodbye either.
            if reason == CloseReason::Stalled {
                connection.force();
            }
        }
        Verdict::Force => connection.force(),
        Verdict::Unseen => {
            if !shared.warned_unseen.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    listener = connection.listener(),
                    "connections are tracked, but not their requests: limits fall back to the \
                     flow of bytes; add make_service, layer or Connection::service"
                );
            }
        }
    }
}
