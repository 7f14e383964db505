//! Changes and metrics.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

#[path = "support/script.rs"]
mod script;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use metrics_exporter_prometheus::PrometheusBuilder;
use script::{Mood, Script};
use tokio::time::sleep;
use tower_ops_health::{Health, Status};

#[tokio::test(start_paused = true)]
async fn changes_go_to_callbacks_and_streams() {
    let script = Script::new();
    let notified = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&notified);
    let health = Health::builder()
        .jitter(0.0)
        .check(script.check("db"))
        .on_change(|_| panic!("a listener of its own"))
        .on_change(move |change| listener.lock().unwrap().push((change.from, change.to)))
        .build()
        .unwrap();
    let mut changes = health.changes();
    drop(health.changes());
    tokio::spawn(health.run());
    for mood in [
        Mood::Ok,
        Mood::Ok,
        Mood::Down,
        Mood::Down,
        Mood::Degraded,
        Mood::Ok,
    ] {
        script.set(mood);
        sleep(Duration::from_secs(10)).await;
    }
    let expected = [
        (Status::Unknown, Status::Ok),
        (Status::Ok, Status::Down),
        (Status::Down, Status::Degraded),
        (Status::Degraded, Status::Ok),
    ];
    assert_eq!(*notified.lock().unwrap(), expected);
    for expected in expected {
        let change = StreamExt::next(&mut changes).await.unwrap();
        assert_eq!((change.from, change.to), expected);
        assert_eq!(&*change.report.name, "db");
        assert_eq!(change.report.status, change.to);
    }
    assert_eq!(changes.missed(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_misses_changes_and_they_are_counted() {
    let script = Script::new();
    let health = Health::builder()
        .jitter(0.0)
        .check(script.check("db"))
        .build()
        .unwrap();
    let mut changes = health.changes();
    tokio::spawn(health.run());
    for run in 0..300 {
        script.set(if run % 2 == 0 { Mood::Ok } else { Mood::Down });
        sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(changes.missed(), 300 - 256);
    assert_eq!(changes.next().await.unwrap().to, Status::Ok);
}

#[tokio::test(start_paused = true)]
async fn metrics_agree_with_the_probes() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let (db, cache) = (Script::new(), Script::new());
    let health = Health::builder()
        .jitter(0.0)
        .recorder(Arc::new(recorder))
        .check(db.check("db").critical())
        .check(cache.check("cache"))
        .build()
        .unwrap();
    let running = tokio::spawn(health.run());
    health.mark_ready();
    let has = |line: &str| {
        let text = handle.render();
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    };
    sleep(Duration::from_secs(2)).await;
    has("dependency_up{name=\"db\"} 1");
    has("dependency_up{name=\"cache\"} 1");
    has("health_status{group=\"readiness\"} 1");
    has("health_status{group=\"liveness\"} 1");
    has("health_check_duration_seconds_count{name=\"db\"} 1");

    cache.set(Mood::Down);
    sleep(Duration::from_secs(10)).await;
    has("dependency_up{name=\"cache\"} 0");
    has("health_status{group=\"readiness\"} 0.5");
    has("health_check_failures_total{name=\"cache\",reason=\"down\"} 1");
    db.set(Mood::Hang);
    sleep(Duration::from_secs(13)).await;
    has("dependency_up{name=\"db\"} 0");
    has("health_status{group=\"readiness\"} 0");
    has("health_check_failures_total{name=\"db\",reason=\"timeout\"} 1");
    db.set(Mood::Panic);
    sleep(Duration::from_secs(10)).await;
    has("health_check_failures_total{name=\"db\",reason=\"panic\"} 1");
    assert!(health.remove("db"));
    has("dependency_up{name=\"db\"} NaN");
    // A removed check is not recorded any more.
    sleep(Duration::from_secs(20)).await;
    has("dependency_up{name=\"db\"} NaN");
    has("health_status{group=\"readiness\"} 0.5");
    running.abort();
}
