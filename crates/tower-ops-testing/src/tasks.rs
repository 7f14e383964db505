use std::sync::{Arc, Mutex, PoisonError};

use hyper::rt::Executor;
use tokio::task::JoinSet;

/// Owns every task started through its spawners, and aborts them all on drop.
///
/// hyper runs HTTP/2 streams, and the client's connection itself, as tasks of the executor:
/// aborting the task that it hands back would leave those running.
#[derive(Debug)]
pub(crate) struct Tasks {
    spawner: Spawner,
}

/// Starts tasks that end with their [`Tasks`]; once those are gone it starts nothing.
#[derive(Clone, Debug)]
pub(crate) struct Spawner {
    // Tasks hold spawners: emptied on drop, which also breaks that cycle.
    running: Arc<Mutex<Option<JoinSet<()>>>>,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self {
            spawner: Spawner {
                running: Arc::new(Mutex::new(Some(JoinSet::new()))),
            },
        }
    }

    pub(crate) fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        let running = self
            .spawner
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // Outside the lock, for the reason given in `execute`.
        drop(running);
    }
}

impl<F> Executor<F> for Spawner
where
    F: Future + Send + 'static,
{
    fn execute(&self, future: F) {
        // The guard, a local, goes before the future, a parameter: one that spawns in its own drop
        // does not meet the lock.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tasks) = running.as_mut() {
            while tasks.try_join_next().is_some() {}
            tasks.spawn(async move {
                future.await;
            });
        }
    }
}
