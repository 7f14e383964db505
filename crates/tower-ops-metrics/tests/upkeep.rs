//! Samples are folded while nobody scrapes.
//!
//! The upkeep runs on real time, once a second, in a thread of its own: hence the real wait.

#![cfg(feature = "prometheus")]

use std::thread::sleep;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tokio::time::Instant;
use tower_ops_metrics::{DURATION_BUCKETS, Prometheus};

#[test]
fn the_upkeep_folds_samples_while_nobody_renders() {
    const SAMPLES: usize = 1_000_000;
    let recorders = [(); 2].map(|()| {
        let builder = PrometheusBuilder::new().set_buckets(&DURATION_BUCKETS);
        builder.expect("there are buckets").build_recorder()
    });
    let [kept, left_alone] = recorders.each_ref().map(PrometheusRecorder::handle);
    let _upkeep = Prometheus::from_handle(kept.clone());
    for recorder in &recorders {
        let histogram = metrics::with_local_recorder(recorder, || metrics::histogram!("samples"));
        for _ in 0..SAMPLES {
            histogram.record(1.0);
        }
    }
    sleep(Duration::from_secs(4));

    // Rendering folds what is left: with the upkeep there is nothing.
    let [kept, left_alone] = [kept, left_alone].map(|handle| {
        let start = Instant::now();
        let text = handle.render();
        let line = format!("samples_count {SAMPLES}");
        assert!(text.lines().any(|it| it == line), "{text}");
        start.elapsed()
    });
    assert!(
        kept < left_alone,
        "{kept:?} with the upkeep, {left_alone:?} without"
    );
}
