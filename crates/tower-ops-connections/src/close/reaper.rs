use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::clock::micros;
use crate::close::limits::Verdict;
use crate::connections::duty::Turn;
use crate::connections::shards::SHARDS;
use crate::connections::shared::Shared;
use crate::{CloseReason, Connection};

/// In how many steps the reaper makes a pass, spread evenly over the interval.
pub(crate) const STEPS: u32 = 16;

/// How long the reaper on duty may do nothing before another runtime's takes over: it
/// makes a step every sixteenth of an interval.
const PATIENCE: Duration = Duration::from_secs(1);

impl Shared {
    /// Sees to it that the connections are looked at, also when the other runtimes
    /// that have some are gone. The reapers end when there are no connections.
    pub(crate) fn ensure_reaper(self: &Arc<Self>) {
        if let Ok(runtime) = Handle::try_current() {
            let (shared, interval) = (Arc::downgrade(self), self.limits.pass());
            self.reaper
                .ensure(&runtime, |turn| reap(turn, shared, interval));
        }
    }
}

/// Looks at every connection once an interval, while no other runtime does.
async fn reap(turn: Turn, shared: Weak<Shared>, interval: Duration) {
    loop {
        turn.begin(interval.max(PATIENCE)).await;
        if make_passes(&turn, &shared, interval).await.is_break() {
            return;
        }
    }
}

/// Goes on until there is nothing to look at, or somebody else does.
async fn make_passes(turn: &Turn, shared: &Weak<Shared>, interval: Duration) -> ControlFlow<()> {
    let mut pass = Pass::default();
    let mut last = Instant::now();
    loop {
        for step in 0..STEPS {
            sleep(interval / STEPS).await;
            // Held for the step only: connections keep what they need themselves.
            let Some(shared) = shared.upgrade() else {
                return ControlFlow::Break(());
            };
            // Nothing is there, and whoever comes starts another one.
            if turn.dismiss(|| shared.open() == 0) {
                Pass::default().finish(&shared);
                return ControlFlow::Break(());
            }
            if !turn.goes_on() {
                return ControlFlow::Continue(());
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
                record.listener.publish_bytes(record);
                listing.idle = record.in_flight() == 0;
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
        Verdict::LookAtStreams => connection.look_at_streams(),
        Verdict::Untracked => {
            if !shared.warned_untracked.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    listener = connection.listener(),
                    "connections are tracked, but not their requests: limits fall back to the \
                     flow of bytes; add make_service, layer or Connection::service"
                );
            }
        }
    }
}
