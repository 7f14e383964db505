//! What is recorded, and when.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::convert::Infallible;
use std::sync::Arc;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::time::sleep;
use tower_ops_lifecycle::{LifecycleBuilder, Phase, Trigger};

use self::timed::{builder, ms};

#[path = "support/timed.rs"]
mod timed;

struct Recorded(PrometheusHandle);

impl Recorded {
    fn new() -> (Self, LifecycleBuilder) {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        (Self(handle), builder().recorder(Arc::new(recorder)))
    }

    fn value(&self, name: &str) -> Option<f64> {
        let text = self.0.render();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line?.trim().parse().ok()
    }

    fn phase(&self) -> Vec<Phase> {
        let is_one = |phase: &Phase| {
            self.value(&format!("lifecycle_phase{{phase=\"{phase}\"}}"))
                .unwrap()
                > 0.0
        };
        Phase::ALL.into_iter().filter(is_one).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_life() {
    let (recorded, builder) = Recorded::new();
    let folder = tempfile::tempdir().unwrap();
    let lifecycle = builder
        .expect_step("warm up")
        .workers(7)
        .restart_count_file(folder.path().join("restarts"))
        .build()
        .unwrap();
    assert_eq!(recorded.value("server_started_total "), Some(0.0));
    assert_eq!(recorded.value("server_stopped_total "), Some(0.0));
    assert_eq!(recorded.value("restart_count "), Some(0.0));
    assert_eq!(recorded.phase(), [Phase::Starting]);

    let stopped = lifecycle.run();
    assert_eq!(recorded.value("server_workers "), Some(7.0));
    let warm_up = async {
        sleep(ms(1_250)).await;
        Ok::<_, Infallible>(())
    };
    lifecycle.step("warm up", warm_up).await.unwrap();
    assert_eq!(recorded.value("startup_duration_seconds "), Some(1.25));
    assert_eq!(recorded.value("server_started_total "), Some(1.0));
    assert_eq!(recorded.phase(), [Phase::Ready]);

    sleep(ms(20_000)).await;
    assert_eq!(recorded.value("server_uptime_seconds "), Some(20.0));
    lifecycle.record_uptime();
    assert_eq!(recorded.value("server_uptime_seconds "), Some(21.25));

    lifecycle.on_drain("connections", async |drain| {
        drain.aborted("GET /");
        drain.aborted_unnamed(2);
        sleep(ms(500)).await;
    });
    lifecycle.trigger(Trigger::Terminate);
    assert_eq!(recorded.phase(), [Phase::PreDraining]);
    lifecycle.wait_for(Phase::Draining).await;
    assert_eq!(recorded.phase(), [Phase::Draining]);
    stopped.await;
    assert_eq!(recorded.phase(), [Phase::Stopped]);
    assert_eq!(recorded.value("shutdown_duration_seconds "), Some(5.5));
    assert_eq!(recorded.value("server_stopped_total "), Some(1.0));
    assert_eq!(recorded.value("server_aborted_exchanges_total "), Some(3.0));
    assert_eq!(recorded.value("server_uptime_seconds "), Some(26.75));
}

#[tokio::test(start_paused = true)]
async fn restarts_are_counted_from_one_process_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("restarts");
    for count in 0..3_u32 {
        let (recorded, builder) = Recorded::new();
        let lifecycle = builder.restart_count_file(&path).build().unwrap();
        assert_eq!(lifecycle.restart_count(), Some(count.into()));
        assert_eq!(lifecycle.restart_count_problem(), None);
        assert_eq!(recorded.value("restart_count "), Some(count.into()));
    }
    std::fs::write(&path, "something else").unwrap();
    let lifecycle = builder().restart_count_file(&path).build().unwrap();
    assert_eq!(lifecycle.restart_count(), Some(0));
    assert!(
        lifecycle
            .restart_count_problem()
            .unwrap()
            .contains("left as it is")
    );

    let (recorded, builder) = Recorded::new();
    assert_eq!(builder.build().unwrap().restart_count(), None);
    assert_eq!(recorded.value("restart_count "), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn workers_are_those_of_the_runtime_unless_set() {
    let (recorded, builder) = Recorded::new();
    drop(builder.build().unwrap().run());
    assert_eq!(recorded.value("server_workers "), Some(3.0));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_never_was_ready_did_not_start_a_server() {
    let (recorded, builder) = Recorded::new();
    let lifecycle = builder.build().unwrap();
    lifecycle.shutdown();
    lifecycle.mark_ready();
    lifecycle.run().await;
    assert_eq!(recorded.value("server_started_total "), Some(0.0));
    assert_eq!(recorded.value("startup_duration_seconds "), Some(0.0));
    assert_eq!(recorded.value("server_stopped_total "), Some(1.0));
}
