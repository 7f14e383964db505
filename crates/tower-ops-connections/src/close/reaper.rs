//! The task that looks at every connection, and carries out what [`Limits::judge`] decides.
//!
//! There is one on each runtime that accepts connections, since any runtime may be shut down, or
//! not be polled any more. Whichever wakes first makes the next step of the pass. One that finds
//! the step made sleeps for a whole pass, so that as a rule one of them works.
//!
//! [`Limits::judge`]: crate::connections::limits::Limits::judge

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::clock::micros;
use crate::close::judge::{Verdict, View};
use crate::connections::shards::SHARDS;
use crate::connections::shared::Shared;
use crate::{CloseReason, Connection};

/// The number of steps in a pass, spread evenly over its interval.
pub(crate) const STEPS: u32 = 16;

/// The reapers of all runtimes, and how far the pass is.
#[derive(Default)]
pub(crate) struct Reapers {
    tasks: Vec<(Id, AbortHandle)>,
    step: u32,
    last_step: Option<Instant>,
    pass: Pass,
}

impl Reapers {
    /// Returns the next step and the time since the last one, or `None` if that is less than
    /// `period`: another reaper has made the step.
    fn claim_step(&mut self, period: Duration) -> Option<(u32, Duration)> {
        let now = Instant::now();
        let elapsed = self.last_step.map_or(period, |last| now - last);
        if elapsed < period {
            return None;
        }
        self.last_step = Some(now);
        let step = self.step;
        self.step = (step + 1) % STEPS;
        Some((step, elapsed))
    }

    fn restart(&mut self) {
        self.step = 0;
        self.pass = Pass::default();
    }
}

impl Shared {
    /// Spawns a reaper on this runtime, unless there is one. It ends when no connection is open.
    pub(crate) fn ensure_reaper(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let id = runtime.id();
        let mut reapers = self.reapers.lock();
        let is_there = |(of, task): &(Id, AbortHandle)| *of == id && !task.is_finished();
        if reapers.tasks.iter().any(is_there) {
            return;
        }
        reapers.tasks.retain(|(_, task)| !task.is_finished());
        if reapers.tasks.is_empty() {
            reapers.last_step = Some(Instant::now());
        }
        let task = runtime.spawn(reap(Arc::downgrade(self), id, self.limits.pass()));
        reapers.tasks.push((id, task.abort_handle()));
    }

    /// Makes a step of the pass, unless another reaper has. Returns how long to sleep, or `None` if
    /// no connection is open.
    fn make_step(&self, runtime: Id, interval: Duration) -> Option<Duration> {
        let period = interval / STEPS;
        let (step, elapsed) = {
            let mut reapers = self.reapers.lock();
            // Under the lock: whoever accepts a connection counts it before it looks for a reaper.
            if self.open() == 0 {
                reapers.tasks.retain(|(id, _)| *id != runtime);
                reapers.restart();
                drop(reapers);
                Pass::default().finish(self);
                return None;
            }
            let Some(claimed) = reapers.claim_step(period) else {
                return Some(interval);
            };
            claimed
        };
        let begun = Instant::now();
        self.clock.advance(elapsed);
        let mut found = Pass::default();
        for shard in (0..SHARDS).skip(step as usize).step_by(STEPS as usize) {
            found.look_at(self, shard, self.clock.now());
        }
        found.took = begun.elapsed();
        let finished = {
            let mut reapers = self.reapers.lock();
            reapers.pass.add(found);
            (step == STEPS - 1).then(|| std::mem::take(&mut reapers.pass))
        };
        if let Some(pass) = finished {
            pass.finish(self);
        }
        Some(period)
    }
}

async fn reap(shared: Weak<Shared>, runtime: Id, interval: Duration) {
    let mut wait = interval / STEPS;
    loop {
        sleep(wait).await;
        // Held for the step only: connections keep what they need themselves.
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let Some(next) = shared.make_step(runtime, interval) else {
            return;
        };
        wait = next;
    }
}

/// What a pass, or a part of it, has found.
#[derive(Default)]
pub(crate) struct Pass {
    took: Duration,
    /// By the index of the listener.
    idle: Vec<u32>,
}

impl Pass {
    pub(crate) fn look_at(&mut self, shared: &Shared, shard: usize, now: Duration) {
        // Carried out without the lock, since that wakes tasks and calls the listener of events.
        let mut due: Vec<(Connection, Verdict)> = Vec::new();
        for (_, entry) in shared.shards.lock(shard).iter_mut() {
            if micros(now) >= entry.look {
                let record = &*entry.connection.record;
                record.listener.publish_bytes(record);
                entry.idle = record.in_flight() == 0;
                let view = View::of(record, &shared.limits, now);
                match shared.limits.judge(&view, now) {
                    Verdict::Leave => {
                        entry.look = micros(shared.limits.next_look(&view, now));
                    }
                    verdict => {
                        entry.look = 0;
                        due.push((entry.connection.clone(), verdict));
                    }
                }
            }
            if entry.idle {
                self.count_idle(entry.listener, 1);
            }
        }
        for (connection, verdict) in due {
            carry_out(shared, &connection, verdict);
        }
    }

    fn count_idle(&mut self, listener: usize, count: u32) {
        if self.idle.len() <= listener {
            self.idle.resize(listener + 1, 0);
        }
        self.idle[listener] += count;
    }

    fn add(&mut self, other: Self) {
        self.took += other.took;
        for (listener, count) in other.idle.into_iter().enumerate() {
            self.count_idle(listener, count);
        }
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
            // A peer that does not read does not read a GOAWAY either.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_step_is_made_once_and_none_is_lost_with_a_reaper() {
        const PERIOD: Duration = Duration::from_millis(100);
        let mut reapers = Reapers {
            last_step: Some(Instant::now()),
            ..Reapers::default()
        };
        assert_eq!(reapers.claim_step(PERIOD), None);
        for step in 0..2 * STEPS {
            sleep(PERIOD).await;
            assert_eq!(reapers.claim_step(PERIOD), Some((step % STEPS, PERIOD)));
            assert_eq!(reapers.claim_step(PERIOD), None, "by another one");
        }
        // Nobody was there for a while: the next one resumes.
        sleep(7 * PERIOD).await;
        assert_eq!(reapers.claim_step(PERIOD), Some((0, 7 * PERIOD)));
    }
}
