//! The task that closes what is idle or unhealthy.
//!
//! There is one on each runtime that has registered a resource, since any runtime may be shut down,
//! or not be polled any more. Whichever wakes first makes the pass, and the others wait for the
//! next one.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use crate::closed::CloseReason;
use crate::registry::{Inner, Registry};
use crate::resource::{Guard, release};
use crate::slots::ResourceId;

/// How many health checks run at once.
const CONCURRENT_CHECKS: usize = 16;

/// The janitors of one registry.
#[derive(Default)]
pub(crate) struct Janitors {
    tasks: Vec<(Id, AbortHandle)>,
    last_pass: Option<Instant>,
}

impl Janitors {
    /// Returns how long to wait for the next pass, or `None` if the caller is to make one now.
    fn claim_pass(&mut self, interval: Duration) -> Option<Duration> {
        let now = Instant::now();
        let since = self.last_pass.map(|last| now.duration_since(last));
        match since {
            Some(since) if since < interval => Some(interval - since),
            _ => {
                self.last_pass = Some(now);
                None
            }
        }
    }
}

/// Spawns a janitor on `runtime`, unless there is one.
pub(crate) fn ensure<T: Send + Sync + 'static>(inner: &Arc<Inner<T>>, runtime: &Handle) {
    let id = runtime.id();
    let mut janitors = inner.janitors.lock();
    let is_there = |(of, task): &(Id, AbortHandle)| *of == id && !task.is_finished();
    if janitors.tasks.iter().any(is_there) {
        return;
    }
    janitors.tasks.retain(|(_, task)| !task.is_finished());
    let interval = inner.settings.health_check_interval;
    let task = runtime.spawn(run(Arc::downgrade(inner), interval));
    janitors.tasks.push((id, task.abort_handle()));
}

/// Makes passes until the registry is dropped.
async fn run<T: Send + Sync + 'static>(registry: Weak<Inner<T>>, interval: Duration) {
    let mut wait = interval;
    loop {
        sleep(wait).await;
        let Some(inner) = registry.upgrade() else {
            return;
        };
        let claimed = inner.janitors.lock().claim_pass(interval);
        wait = claimed.unwrap_or(interval);
        if claimed.is_none() {
            close_idle(&inner);
            check(Registry { inner }).await;
        }
    }
}

fn close_idle<T: Send + Sync + 'static>(inner: &Inner<T>) {
    let Some(limit) = inner.settings.idle_timeout else {
        return;
    };
    let is_idle = |resource: &crate::resource::Resource<T>| resource.idle() >= limit;
    let idle = inner.slots.lock().take_unused(is_idle);
    for resource in idle {
        release(resource, CloseReason::Idle);
    }
}

/// Checks everything that is not in use. The check holds a guard, so that nothing else closes the
/// resource meanwhile.
async fn check<T: Send + Sync + 'static>(registry: Registry<T>) {
    let Some(check) = registry.inner.settings.health_check.clone() else {
        return;
    };
    let unused: Vec<ResourceId> = {
        let slots = registry.inner.slots.lock();
        let unused = slots.iter().filter(|(_, it)| Arc::strong_count(it) == 1);
        unused.map(|(id, _)| id).collect()
    };
    // A weak handle: a check that hangs must not keep the registry alive.
    let inner = Arc::downgrade(&registry.inner);
    let limit = registry.inner.settings.close_timeout;
    drop(registry);
    let mut checks = JoinSet::new();
    for id in unused {
        while checks.len() >= CONCURRENT_CHECKS {
            checks.join_next().await;
        }
        let Some(guard) = inner
            .upgrade()
            .and_then(|inner| inner.slots.lock().get(id).ok())
            .map(Guard::for_check)
        else {
            continue;
        };
        let (inner, check) = (inner.clone(), Arc::clone(&check));
        checks.spawn(async move {
            let name = guard.name().to_owned();
            // A task of its own catches a panic.
            let mut task = tokio::spawn(check(guard));
            let failure = match timeout(limit, &mut task).await {
                Ok(Ok(Ok(()))) => return,
                Ok(Ok(Err(error))) => error.to_string(),
                Ok(Err(_)) => "the check panicked".to_owned(),
                Err(_) => {
                    task.abort();
                    format!("the check took longer than {limit:?}")
                }
            };
            tracing::warn!(%name, failure, "closing a resource that failed its health check");
            let removed = inner
                .upgrade()
                .and_then(|inner| inner.slots.lock().remove(id).ok());
            if let Some(resource) = removed {
                release(resource, CloseReason::Unhealthy);
            }
        });
    }
    while checks.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_pass_is_made_in_each_interval() {
        const INTERVAL: Duration = Duration::from_secs(60);
        let mut janitors = Janitors::default();
        assert_eq!(janitors.claim_pass(INTERVAL), None);
        sleep(INTERVAL / 3).await;
        assert_eq!(janitors.claim_pass(INTERVAL), Some(INTERVAL * 2 / 3));
        sleep(INTERVAL * 2 / 3).await;
        assert_eq!(janitors.claim_pass(INTERVAL), None);
        assert_eq!(janitors.claim_pass(INTERVAL), Some(INTERVAL));
    }
}
