//! What is logged, and that it is logged once.
//!
//! One test in a process of its own: tracing keeps for the whole process whether anybody
//! listens to a place, and tests beside it would change that.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::io;
use std::sync::{Arc, Mutex};

use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;
use tower_ops_lifecycle::{Lifecycle, Trigger};
use tracing_subscriber::fmt::MakeWriter;

use self::timed::{builder, ms, ready};

#[path = "support/timed.rs"]
mod timed;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Those that have the text, out of all since the last time.
    fn take(&self) -> impl Fn(&str) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        move |with| {
            let lines = text.lines().filter(|line| line.contains(with));
            lines.map(str::to_owned).collect()
        }
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap()
}

#[test]
fn each_end_is_logged_once_with_what_went_wrong() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    runtime().block_on(completed());
    let lines = log.take();
    assert_eq!(lines("clean=").len(), 1);
    let completed = &lines("shutdown completed")[0];
    assert!(
        completed.contains("trigger=\"prestop\" clean=false total_ms=5000 pre_drain_ms=5000"),
        "{completed}"
    );
    assert!(completed.contains(" WARN "), "{completed}");
    assert_eq!(lines("failed: disk full").len(), 1);
    assert_eq!(lines("GET /reports").len(), 1);

    runtime().block_on(clean());
    let lines = log.take();
    let clean = lines("shutdown completed");
    assert_eq!(clean.len(), 1);
    assert!(clean[0].contains(" INFO "), "{clean:?}");
    assert!(lines("WARN").is_empty(), "{:?}", lines("WARN"));

    runtime().block_on(signalled());
    let lines = log.take();
    assert_eq!(lines("clean=").len(), 1);
    assert_eq!(lines("ended at once by another SIGTERM").len(), 1);

    for triggered in [false, true] {
        let runtime = runtime();
        runtime.block_on(cut_off(triggered));
        drop(runtime);
        let lines = log.take();
        assert_eq!(lines("clean=").len(), 1);
        assert_eq!(lines("cut off by the end of the runtime").len(), 1);
        assert_eq!(lines("not run").len(), 1, "the hook that did not run");
    }

    runtime().block_on(too_late());
    let lines = log.take();
    assert_eq!(
        lines("the participant was registered after the drain and is dropped").len(),
        2
    );
    assert_eq!(
        lines("the hook was registered after the last one ran and is dropped").len(),
        1
    );

    runtime().block_on(unwatched());
    assert_eq!(log.take()("signal_to_stop is used without").len(), 1);
}

async fn completed() {
    let lifecycle = ready();
    lifecycle.on_stop("pool", async || Err(io::Error::other("disk full")));
    lifecycle.on_drain("connections", async |drain| drain.aborted("GET /reports"));
    let waiting: Vec<_> = (0..5).map(|_| tokio::spawn(lifecycle.run())).collect();
    lifecycle.trigger(Trigger::PreStop);
    lifecycle.run().await;
    for one in waiting {
        one.await.unwrap();
    }
    sleep(ms(60_000)).await;
}

async fn clean() {
    let lifecycle = ready();
    lifecycle.on_stop("pool", async || {});
    lifecycle.shutdown();
    lifecycle.run().await;
}

async fn signalled() {
    let lifecycle = builder().on_second_signal(|_, _| {}).build().unwrap();
    lifecycle.mark_ready();
    let stopped = lifecycle.run();
    for _ in 0..4 {
        lifecycle.trigger(Trigger::Terminate);
    }
    stopped.await;
    sleep(ms(60_000)).await;
}

async fn cut_off(triggered: bool) {
    let lifecycle = ready();
    lifecycle.on_stop("pool", async || {});
    drop(lifecycle.run());
    if triggered {
        lifecycle.shutdown();
        tokio::task::yield_now().await;
    }
}

/// After a drain that ended, after one that did not, and after the hooks.
async fn too_late() {
    let lifecycle = ready();
    lifecycle.shutdown();
    lifecycle.run().await;
    lifecycle.on_drain("late", async |_| {});
    lifecycle.on_stop("late", async || {});

    let lifecycle = ready();
    lifecycle.on_drain("stuck", async |_| std::future::pending().await);
    lifecycle.shutdown();
    lifecycle.run().await;
    lifecycle.on_drain("late", async |_| {});
}

async fn unwatched() {
    let lifecycle: Lifecycle = ready();
    drop(lifecycle.signal_to_stop());
    lifecycle.shutdown();
    lifecycle.run().await;
}
