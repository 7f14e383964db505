//! Notes when each phase was reached, and builds lifecycles that no signal of the test
//! run reaches.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tower_ops_lifecycle::{Lifecycle, LifecycleBuilder, Phase};

#[allow(dead_code, reason = "not every test that shares this file needs it")]
pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Without signals, and without an exit that would end the test run.
#[allow(dead_code, reason = "not every test that shares this file needs it")]
pub(crate) fn builder() -> LifecycleBuilder {
    Lifecycle::builder()
        .signals(false)
        .on_second_signal(|_, code| panic!("exits with {code}"))
}

#[allow(dead_code, reason = "not every test that shares this file needs it")]
pub(crate) fn ready() -> Lifecycle {
    let lifecycle = builder().build().unwrap();
    lifecycle.mark_ready();
    lifecycle
}

/// The phases as they come, in milliseconds from the call.
#[allow(dead_code, reason = "not every test that shares this file needs it")]
pub(crate) fn watch(
    lifecycle: &Lifecycle,
) -> impl Future<Output = Vec<(Phase, u128)>> + Send + use<> {
    let (mut phases, began) = (lifecycle.subscribe(), Instant::now());
    let task = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(phase) = phases.changed().await {
            seen.push((phase, began.elapsed().as_millis()));
        }
        seen
    });
    async move { task.await.unwrap() }
}

/// Lines in the order in which they were written, from wherever.
#[derive(Clone, Default)]
#[allow(dead_code, reason = "not every test that shares this file needs it")]
pub(crate) struct Journal(Arc<Mutex<Vec<String>>>);

#[allow(dead_code, reason = "not every test that shares this file needs it")]
impl Journal {
    pub(crate) fn write(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}
