//! One task that does a work, on whichever runtime lives: each runtime has a task for
//! it, of which one is on duty and the others wait. A runtime may be shut down, or not
//! be driven any more, and what it did has to go on elsewhere.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Who does the work.
#[derive(Default)]
pub(crate) struct Duty {
    roster: Mutex<Roster>,
    /// Whoever was on duty has left.
    vacant: Notify,
}

#[derive(Default)]
struct Roster {
    /// One for each runtime.
    tasks: Vec<(Id, AbortHandle)>,
    next: u64,
    /// The number of the task that is on duty.
    on_duty: Option<u64>,
    /// Goes up while the work is done.
    beats: u64,
}

/// The place of one task among those that could do the work. Leaves it when dropped,
/// as when its runtime is shut down.
pub(crate) struct Turn {
    duty: Arc<Duty>,
    number: u64,
}

impl Duty {
    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that `runtime` has a task for the work, which `task` makes.
    pub(crate) fn ensure<F>(self: &Arc<Self>, runtime: &Handle, task: impl FnOnce(Turn) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut roster = self.roster();
        let id = runtime.id();
        if roster
            .tasks
            .iter()
            .any(|(of, task)| *of == id && !task.is_finished())
        {
            return;
        }
        // Also those of runtimes that are gone.
        roster.tasks.retain(|(_, task)| !task.is_finished());
        let number = roster.next;
        roster.next += 1;
        let turn = Turn {
            duty: Arc::clone(self),
            number,
        };
        let task = task(turn);
        // Without the lock: the task of a runtime that is gone is dropped at once.
        drop(roster);
        let task = runtime.spawn(task).abort_handle();
        self.roster().tasks.push((id, task));
    }
}

impl Turn {
    /// Completes when the work is this task's: nobody else does it, or whoever did has
    /// done nothing for `patience`.
    pub(crate) async fn begin(&self, patience: Duration) {
        let mut seen = None;
        loop {
            {
                let mut roster = self.duty.roster();
                let stuck = seen == Some((roster.on_duty, roster.beats));
                if roster.on_duty.is_none() || stuck {
                    roster.on_duty = Some(self.number);
                }
                if roster.on_duty == Some(self.number) {
                    roster.beats += 1;
                    return;
                }
                seen = Some((roster.on_duty, roster.beats));
            }
            let _ = timeout(patience, self.duty.vacant.notified()).await;
        }
    }

    /// Says that the work goes on. `false` if another task does it now.
    pub(crate) fn goes_on(&self) -> bool {
        let mut roster = self.duty.roster();
        roster.beats += 1;
        roster.on_duty == Some(self.number)
    }

    /// Ends every task's turn if nothing is to be done any more, as `done` says: it is
    /// asked under a lock that [`Duty::ensure`] takes as well.
    pub(crate) fn dismiss(&self, done: impl FnOnce() -> bool) -> bool {
        let mut roster = self.duty.roster();
        let done = done();
        if done {
            roster.on_duty = None;
            for (_, task) in roster.tasks.drain(..) {
                task.abort();
            }
        }
        done
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut roster = self.duty.roster();
        if roster.on_duty == Some(self.number) {
            roster.on_duty = None;
            drop(roster);
            self.duty.vacant.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const STEP: Duration = Duration::from_millis(10);

    async fn work(turn: Turn, name: &'static str, log: Arc<Mutex<Vec<&'static str>>>) {
        loop {
            turn.begin(20 * STEP).await;
            while turn.goes_on() {
                log.lock().unwrap().push(name);
                sleep(STEP).await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_works_and_another_takes_over_when_it_is_gone_or_stuck() {
        let duty = Arc::<Duty>::default();
        let log = Arc::<Mutex<Vec<&'static str>>>::default();
        let here = Handle::current();
        duty.ensure(&here, |turn| work(turn, "first", Arc::clone(&log)));
        duty.ensure(&here, |turn| work(turn, "not needed", Arc::clone(&log)));
        let turn = Turn {
            duty: Arc::clone(&duty),
            number: 100,
        };
        let second = tokio::spawn(work(turn, "second", Arc::clone(&log)));
        sleep(50 * STEP).await;
        assert!(log.lock().unwrap().iter().all(|it| *it == "first"));
        let first = duty.roster().tasks[0].1.clone();
        first.abort();
        sleep(2 * STEP).await;
        assert_eq!(log.lock().unwrap().last(), Some(&"second"));

        // Neither gone nor at work, as on a runtime that is not driven.
        second.abort();
        sleep(STEP).await;
        let stuck = Turn {
            duty: Arc::clone(&duty),
            number: 101,
        };
        stuck.begin(STEP).await;
        duty.ensure(&here, |turn| work(turn, "third", Arc::clone(&log)));
        sleep(50 * STEP).await;
        assert_eq!(log.lock().unwrap().last(), Some(&"third"));
        assert!(!stuck.goes_on());
    }
}
