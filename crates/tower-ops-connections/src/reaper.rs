use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::clock::micros;
use crate::limits::Verdict;
use crate::shards::SHARDS;
use crate::shared::Shared;
use crate::{CloseReason, Connection};

/// In how many steps the reaper makes a pass, spread evenly over the interval.
pub(crate) const STEPS: u32 = 16;

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
    let mut last = Instant::now();
    loop {
        for step in 0..STEPS {
            sleep(interval / STEPS).await;
            // Held for the step only: connections keep what they need themselves.
            let Some(shared) = shared.upgrade() else {
                return;
            };
            if shared.dismiss_reaper() {
                Pass::default().finish(&shared);
                return;
            }
            let begun = Instant::now();
            shared.clock.advance(begun - last);
            last = begun;
            for shard in (0..SHARDS).skip(step as usize).step_by(STEPS as usize) {
                pass.look_at(&shared, shard, shared.clock.now());
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
    /// By the number of the listener.
    idle: Vec<u32>,
}

impl Pass {
    pub(crate) fn look_at(&mut self, shared: &Shared, shard: usize, now: Duration) {
        // What is to be done is done without the lock: it wakes tasks and tells
        // whoever listens.
        let mut due: Vec<(Connection, Verdict)> = Vec::new();
        for (_, listing) in shared.shards.lock(shard).iter_mut() {
            if micros(now) >= listing.look {
                let record = &*listing.connection.record;
                record.listener.tell_bytes(record);
                listing.idle = !record.state.seen().is_busy();
                match shared.limits.judge(record, now) {
                    Verdict::Leave => {
                        listing.look = micros(shared.limits.next_look(record, now));
                    }
                    verdict => {
                        listing.look = 0;
                        due.push((listing.connection.clone(), verdict));
                    }
                }
            }
            if listing.idle {
                self.count_idle(listing.listener);
            }
        }
        for (connection, verdict) in due {
            carry_out(shared, &connection, verdict);
        }
    }

    fn count_idle(&mut self, listener: usize) {
        if self.idle.len() <= listener {
            self.idle.resize(listener + 1, 0);
        }
        self.idle[listener] += 1;
    }

    fn finish(self, shared: &Shared) {
        shared.pass.record(self.took.as_secs_f64());
        for listener in shared.listeners() {
            let count = self.idle.get(listener.index).copied().unwrap_or_default();
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
        Verdict::ForceIdle => connection.force_unless_busy(),
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
