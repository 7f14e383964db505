use std::sync::{Arc, Weak};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::close::RegistryCloseReason;
use super::resource::{self, Guard};
use super::slots::ResourceId;
use super::{Inner, Registry};
use crate::connections::duty::Turn;

/// How many health checks run at once.
const CHECKS: usize = 16;

/// Closes what is idle or broken, until the registry is dropped; while no other
/// runtime does.
pub(super) async fn run<T: Send + Sync + 'static>(turn: Turn, registry: Weak<Inner<T>>) {
    let Some((interval, patience)) = registry.upgrade().map(|inner| {
        let settings = &inner.settings;
        let checks = settings.close_timeout.saturating_mul(2);
        let interval = settings.health_check_interval;
        (interval, interval.saturating_mul(2).saturating_add(checks))
    }) else {
        return;
    };
    turn.begin(patience).await;
    loop {
        sleep(interval).await;
        if !turn.goes_on() {
            turn.begin(patience).await;
        }
        let Some(inner) = registry.upgrade() else {
            return;
        };
        close_idle(&inner);
        check(Registry { inner }).await;
    }
}

fn close_idle<T: Send + Sync + 'static>(inner: &Inner<T>) {
    let Some(limit) = inner.settings.idle_timeout else {
        return;
    };
    let idle = inner
        .slots()
        .take_unused(|resource| resource.idle() >= limit);
    for resource in idle {
        resource::release(resource, RegistryCloseReason::Idle);
    }
}

/// Checks all that nobody uses. A check counts as a use: nothing is closed beneath
/// it, but for its own verdict.
async fn check<T: Send + Sync + 'static>(registry: Registry<T>) {
    let Some(check) = registry.inner.settings.health_check.clone() else {
        return;
    };
    let unused: Vec<ResourceId> = registry
        .inner
        .slots()
        .iter()
        .filter(|(_, resource)| Arc::strong_count(resource) == 1)
        .map(|(id, _)| id)
        .collect();
    // A weak handle: a check that hangs must not keep the registry alive.
    let inner = Arc::downgrade(&registry.inner);
    let limit = registry.inner.settings.close_timeout;
    drop(registry);
    let mut checks = JoinSet::new();
    for id in unused {
        while checks.len() >= CHECKS {
            checks.join_next().await;
        }
        let Some(guard) = inner
            .upgrade()
            .and_then(|inner| inner.slots().get(id).ok())
            .map(Guard::for_check)
        else {
            continue;
        };
        let (inner, check) = (inner.clone(), Arc::clone(&check));
        checks.spawn(async move {
            let name = guard.name().to_owned();
            // On a task of its own, so that a panic is a failure and no more.
            let mut task = tokio::spawn(check(guard));
            let failure = match timeout(limit, &mut task).await {
                Ok(Ok(Ok(()))) => return,
                Ok(Ok(Err(error))) => error.to_string(),
                Ok(Err(_)) => "the check panicked".to_owned(),
                Err(_) => {
                    task.abort();
                    format!("no answer within {limit:?}")
                }
            };
            tracing::warn!(%name, failure, "a resource failed its health check and is closed");
            let removed = inner
                .upgrade()
                .and_then(|inner| inner.slots().remove(id).ok());
            if let Some(resource) = removed {
                resource::release(resource, RegistryCloseReason::Unhealthy);
            }
        });
    }
    while checks.join_next().await.is_some() {}
}
