//! When checks run, and what becomes of those that fail, hang, panic or go away.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

#[path = "support/ask.rs"]
mod ask;
#[path = "support/script.rs"]
mod script;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ask::{code, get};
use script::{Mood, Script};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tower_ops_health::{Check, CheckNowError, FailureReason, Health, Status};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Ready, with checks that run on the second.
fn start(checks: impl IntoIterator<Item = Check>) -> (Health, JoinHandle<()>) {
    let health = Health::builder()
        .jitter(0.0)
        .checks(checks)
        .build()
        .unwrap();
    let running = tokio::spawn(health.run());
    health.mark_ready();
    (health, running)
}

fn status(health: &Health, check: &str) -> Status {
    health.report(check).unwrap().status
}

#[tokio::test(start_paused = true)]
async fn a_thousand_probes_cause_one_run_a_period() {
    let script = Script::new();
    script.takes(secs(2));
    let (health, _running) = start([script
        .check("db")
        .critical()
        .timeout(secs(3))
        .period(secs(10))]);
    let until = Instant::now() + secs(95);
    let probes: Vec<_> = (0..1_000)
        .map(|_| {
            let health = health.clone();
            tokio::spawn(async move {
                let mut asked = 0;
                while Instant::now() < until {
                    let before = Instant::now();
                    code(&health, "/ready").await;
                    assert_eq!(before.elapsed(), Duration::ZERO, "a probe has waited");
                    asked += 1;
                    sleep(secs(1)).await;
                }
                asked
            })
        })
        .collect();
    let mut asked = 0;
    for probe in probes {
        asked += probe.await.unwrap();
    }
    // At 0, 10, … 90 s.
    assert_eq!((asked, script.runs()), (95_000, 10));
    assert_eq!(script.most_running(), 1);
}

#[tokio::test(start_paused = true)]
async fn readiness_waits_for_the_first_run_and_follows_the_check() {
    let script = Script::new();
    script.takes(secs(1));
    let check = script
        .check("db")
        .critical()
        .period(secs(10))
        .timeout(secs(2));
    let (health, _running) = start([check]);
    assert_eq!(code(&health, "/ready").await, 503);
    sleep(Duration::from_millis(1_001)).await;
    assert_eq!(code(&health, "/ready").await, 200);

    script.set(Mood::Down);
    sleep(secs(10)).await;
    assert_eq!(code(&health, "/ready").await, 503);
    assert_eq!(code(&health, "/health").await, 200);
    let report = health.report("db").unwrap();
    let last = report.last.unwrap();
    assert_eq!(last.error.unwrap(), "refused");
    assert_eq!(
        (last.reason, last.latency),
        (Some(FailureReason::Down), secs(1))
    );
    assert_eq!((report.runs, report.failures, report.streak), (2, 1, 1));
    assert!(report.first_failure.is_some());

    script.set(Mood::Ok);
    sleep(secs(10)).await;
    assert_eq!(code(&health, "/ready").await, 200);
    assert!(health.report("db").unwrap().first_failure.is_none());
}

#[tokio::test(start_paused = true)]
async fn kinds_decide_what_a_failure_means() {
    let script = Script::new();
    script.set(Mood::Down);
    for (check, ready, word) in [
        (script.check("db").critical(), 503, "down"),
        (script.check("db"), 200, "degraded"),
        (script.check("db").degrading(), 200, "degraded"),
        (script.check("db").informational(), 200, "ok"),
    ] {
        let (health, _running) = start([check]);
        sleep(secs(1)).await;
        let answer = get(&health, "/ready").await;
        assert_eq!(
            (answer.code, answer.body),
            (ready, format!("{{\"status\":\"{word}\"}}\n"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn thresholds_count_in_a_row() {
    let script = Script::new();
    let check = script
        .check("db")
        .critical()
        .failure_threshold(3)
        .success_threshold(2);
    let (health, _running) = start([check.period(secs(10))]);
    // One success does not make two, so that nothing is known yet.
    sleep(secs(1)).await;
    assert_eq!(status(&health, "db"), Status::Unknown);
    sleep(secs(10)).await;
    assert_eq!(status(&health, "db"), Status::Ok);
    for (mood, expected) in [
        (Mood::Down, Status::Ok),
        (Mood::Down, Status::Ok),
        (Mood::Ok, Status::Ok),
        (Mood::Down, Status::Ok),
        (Mood::Down, Status::Ok),
        (Mood::Down, Status::Down),
        (Mood::Ok, Status::Down),
        (Mood::Down, Status::Down),
        (Mood::Degraded, Status::Down),
        (Mood::Degraded, Status::Degraded),
        (Mood::Ok, Status::Ok),
    ] {
        script.set(mood);
        sleep(secs(10)).await;
        assert_eq!(status(&health, "db"), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_does_not_stay_on_its_last_pass() {
    let script = Script::new();
    let check = script
        .check("db")
        .critical()
        .period(secs(10))
        .timeout(secs(2));
    let (health, _running) = start([check]);
    sleep(secs(5)).await;
    assert_eq!(code(&health, "/ready").await, 200);
    script.set(Mood::Hang);
    // The last pass was at 0 s, the run that hangs begins at 10 s and has until 12 s.
    sleep(Duration::from_millis(6_990)).await;
    assert_eq!(code(&health, "/ready").await, 200);
    sleep(Duration::from_millis(20)).await;
    assert_eq!(code(&health, "/ready").await, 503);
    let last = health.report("db").unwrap().last.unwrap();
    assert_eq!(last.reason, Some(FailureReason::Timeout));
    assert_eq!(last.error.unwrap(), "no answer within 2s");
    // It was dropped, and the next run is on time.
    assert_eq!(script.running(), 0);
    script.set(Mood::Ok);
    sleep(secs(8)).await;
    assert_eq!(code(&health, "/ready").await, 200);
}

#[tokio::test]
async fn a_check_that_ignores_its_timeout_never_runs_twice_at_once() {
    let (release, blocked) = mpsc::channel::<()>();
    let blocked = std::sync::Mutex::new(blocked);
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let check = Check::blocking("disk", move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let _ = blocked.lock().unwrap().recv();
        true
    });
    let check = check
        .critical()
        .period(Duration::from_millis(50))
        .timeout(Duration::from_millis(20))
        .failure_threshold(3);
    let (health, running) = start([check]);
    let mut changes = health.changes();
    // One timeout and then two periods in which it still runs make three failures.
    let change = changes.next().await.unwrap();
    assert_eq!(change.to, Status::Down);
    let reason = change.report.last.unwrap().reason;
    assert_eq!(reason, Some(FailureReason::StillRunning));
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    // Nor does another scheduler start it again.
    running.abort();
    let _ = running.await;
    let _running = tokio::spawn(health.run());
    let failures = health.report("disk").unwrap().failures;
    while health.report("disk").unwrap().failures < failures + 2 {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    // It ends, and runs again.
    drop(release);
    assert_eq!(changes.next().await.unwrap().to, Status::Ok);
    assert!(runs.load(Ordering::SeqCst) >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_that_blocks_its_worker_is_detected_and_blocks_no_other() {
    let (release, blocked) = mpsc::channel::<()>();
    let blocked = Arc::new(std::sync::Mutex::new(blocked));
    let check = Check::new("rude", move || {
        let blocked = Arc::clone(&blocked);
        async move {
            let _ = blocked.lock().unwrap().recv();
        }
    });
    let brief = |check: Check| {
        check
            .critical()
            .period(Duration::from_millis(50))
            .timeout(Duration::from_millis(20))
    };
    let other = Script::new();
    let (health, _running) = start([brief(check), brief(other.check("other"))]);
    let mut changes = health.changes();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let change = changes.next().await.unwrap();
        seen.push((change.report.name.to_string(), change.to));
    }
    seen.sort();
    assert_eq!(
        seen,
        [("other".into(), Status::Ok), ("rude".into(), Status::Down)]
    );
    let runs = other.runs();
    while other.runs() < runs + 3 {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(status(&health, "rude"), Status::Down);
    drop(release);
    assert_eq!(changes.next().await.unwrap().to, Status::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_and_the_next_run_comes() {
    let script = Script::new();
    script.set(Mood::Panic);
    let (health, running) = start([script.check("db").critical()]);
    sleep(secs(1)).await;
    assert_eq!(code(&health, "/ready").await, 503);
    let last = health.report("db").unwrap().last.unwrap();
    assert_eq!(last.reason, Some(FailureReason::Panic));
    script.set(Mood::Ok);
    sleep(secs(10)).await;
    assert_eq!(code(&health, "/ready").await, 200);
    assert!(!running.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_result_older_than_three_periods_is_unknown() {
    let (health, running) = start([
        Check::always_ok("db").critical(),
        Check::always_ok("loop").critical().group("liveness"),
    ]);
    let mut changes = health.changes();
    tokio::spawn(health.watch());
    assert_eq!(changes.next().await.unwrap().to, Status::Ok);
    assert_eq!(changes.next().await.unwrap().to, Status::Ok);
    running.abort();
    let began = Instant::now();
    sleep_until(began + secs(29)).await;
    assert_eq!(code(&health, "/ready").await, 200);
    sleep_until(began + Duration::from_millis(30_100)).await;
    assert_eq!(code(&health, "/ready").await, 503);
    assert_eq!(
        get(&health, "/health/db").await.body,
        "{\"status\":\"unknown\"}\n"
    );
    // What nobody looks at is no reason for a restart.
    assert_eq!(code(&health, "/health").await, 200);
    // Told by the watch, since nobody runs checks.
    let change = changes.next().await.unwrap();
    assert_eq!((change.from, change.to), (Status::Ok, Status::Unknown));
    let last = health.report("db").unwrap().last.unwrap();
    assert!(last.age >= secs(30));
}

#[tokio::test(start_paused = true)]
async fn what_unknown_means_is_up_to_the_group() {
    for (unknown, expected) in [
        (Status::Ok, 200),
        (Status::Degraded, 200),
        (Status::Down, 503),
    ] {
        let health = Health::builder()
            .group(tower_ops_health::Group::new("readiness").unknown_is(unknown))
            .check(Check::always_ok("db").critical())
            .build()
            .unwrap();
        health.mark_ready();
        assert_eq!(code(&health, "/ready").await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_bound_run_at_once_and_the_hung_make_room() {
    let script = Script::new();
    script.takes(secs(1));
    let checks = (0..20).map(|number| script.check(&format!("c{number}")).timeout(secs(2)));
    let health = Health::builder()
        .concurrency(4)
        .checks(checks)
        .build()
        .unwrap();
    let _running = tokio::spawn(health.run());
    sleep(secs(6)).await;
    assert_eq!((script.runs(), script.most_running()), (20, 4));
    assert!(
        health
            .reports()
            .iter()
            .all(|report| report.status == Status::Ok)
    );

    let hung = Script::new();
    hung.set(Mood::Hang);
    let ok = Script::new();
    let health = Health::builder()
        .concurrency(1)
        .check(hung.check("a"))
        .check(ok.check("b"))
        .build()
        .unwrap();
    let _running = tokio::spawn(health.run());
    sleep(secs(3)).await;
    assert_eq!(status(&health, "b"), Status::Ok);
}

#[tokio::test(start_paused = true)]
async fn jitter_makes_runs_early_and_never_late() {
    let script = Script::new();
    let health = Health::builder()
        .jitter(0.5)
        .check(script.check("db").period(secs(10)))
        .build()
        .unwrap();
    let _running = tokio::spawn(health.run());
    sleep(secs(1_000)).await;
    // 100 if each was 10 s from the last, 200 if each was 5 s.
    let runs = script.runs();
    assert!((115..=160).contains(&runs), "{runs}");
}

#[tokio::test(start_paused = true)]
async fn checks_come_and_go() {
    let (health, _running) = start([]);
    assert_eq!(code(&health, "/ready").await, 200);
    let script = Script::new();
    script.set(Mood::Down);
    health.add(script.check("db").critical()).unwrap();
    let error = health.add(Check::always_ok("db")).unwrap_err();
    assert_eq!(
        error.problems(),
        ["check \"db\": there is one of that name"]
    );
    sleep(secs(1)).await;
    assert_eq!(code(&health, "/ready").await, 503);
    assert_eq!(code(&health, "/health/db").await, 503);

    script.set(Mood::Hang);
    sleep(secs(10)).await;
    assert_eq!(script.running(), 1);
    assert!(health.remove("db"));
    assert!(!health.remove("db"));
    assert_eq!(code(&health, "/ready").await, 200);
    assert_eq!(code(&health, "/health/db").await, 404);
    sleep(secs(1)).await;
    assert_eq!(script.running(), 0, "its run goes on");
    let runs = script.runs();
    sleep(secs(100)).await;
    assert_eq!(script.runs(), runs);
    // The name is free again, and nothing of the old one is left.
    health.add(Check::always_ok("db").critical()).unwrap();
    assert_eq!(health.report("db").unwrap().runs, 0);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_scheduler_ends_what_it_runs() {
    let script = Script::new();
    script.set(Mood::Hang);
    let (health, running) = start([script.check("db")]);
    sleep(secs(1)).await;
    assert_eq!(script.running(), 1);
    running.abort();
    sleep(secs(1)).await;
    assert_eq!(script.running(), 0);
    assert_eq!(
        health.check_now("db").await.unwrap_err(),
        CheckNowError::NotRunning
    );
}

#[tokio::test(start_paused = true)]
async fn the_second_scheduler_waits_for_the_first() {
    let script = Script::new();
    let (health, first) = start([script.check("db")]);
    let _second = tokio::spawn(health.run());
    sleep(secs(95)).await;
    assert_eq!(script.runs(), 10);
    first.abort();
    sleep(secs(10)).await;
    assert!(script.runs() > 10);
}

#[tokio::test(start_paused = true)]
async fn the_scheduler_and_the_watch_end_with_the_last_handle() {
    let (health, running) = start([Check::always_ok("db")]);
    let watch = tokio::spawn(health.watch());
    let mut changes = health.changes();
    sleep(secs(1)).await;
    drop(health);
    tokio::time::timeout(secs(20), running)
        .await
        .unwrap()
        .unwrap();
    tokio::time::timeout(secs(20), watch)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(changes.next().await.unwrap().to, Status::Ok);
    assert!(changes.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_check_runs_when_asked_to_and_is_joined_when_it_runs() {
    let script = Script::new();
    script.takes(secs(1));
    let (health, _running) = start([script.check("db").initial_delay(secs(3_600))]);
    assert_eq!(
        health.check_now("no").await.unwrap_err(),
        CheckNowError::NoSuchCheck
    );
    sleep(secs(1)).await;
    assert_eq!(script.runs(), 0);
    let now: Vec<_> = (0..10)
        .map(|_| {
            let health = health.clone();
            tokio::spawn(async move { health.check_now("db").await.unwrap().status })
        })
        .collect();
    for asked in now {
        assert_eq!(asked.await.unwrap(), Status::Ok);
    }
    let late = health.clone();
    let late = tokio::spawn(async move { late.check_now("db").await });
    sleep(Duration::from_millis(500)).await;
    assert_eq!(health.check_now("db").await.unwrap().runs, 2);
    late.await.unwrap().unwrap();
    assert_eq!((script.runs(), script.most_running()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn start_up_waits_once_for_its_checks() {
    let script = Script::new();
    script.set(Mood::Down);
    let (health, _running) = start([script.check("warm").critical().group("startup")]);
    sleep(secs(1)).await;
    assert_eq!(code(&health, "/startup").await, 503);
    assert_eq!(code(&health, "/ready").await, 200);
    script.set(Mood::Ok);
    sleep(secs(10)).await;
    assert_eq!(code(&health, "/startup").await, 200);
    script.set(Mood::Down);
    sleep(secs(10)).await;
    assert_eq!(code(&health, "/startup").await, 200);
    // Nor does one that comes later take it back.
    let late = Script::new();
    late.set(Mood::Down);
    health
        .add(late.check("late").critical().group("startup"))
        .unwrap();
    sleep(secs(10)).await;
    assert_eq!(status(&health, "late"), Status::Down);
    assert_eq!(code(&health, "/startup").await, 200);
    assert_eq!(code(&health, "/startup?exclude=warm").await, 200);
}

#[tokio::test(start_paused = true)]
async fn leaving_a_check_out_does_not_end_start_up() {
    let script = Script::new();
    script.set(Mood::Down);
    let (health, _running) = start([script.check("warm").critical().group("startup")]);
    sleep(secs(1)).await;
    assert_eq!(code(&health, "/startup?exclude=warm").await, 200);
    assert_eq!(code(&health, "/startup").await, 503);
}

#[tokio::test(start_paused = true)]
async fn one_timeout_is_one_failure_however_close_the_next_run_is() {
    let script = Script::new();
    script.set(Mood::Hang);
    let check = script.check("db").critical();
    let check = check.period(secs(2)).timeout(secs(2)).failure_threshold(2);
    let (health, _running) = start([check]);
    sleep(Duration::from_millis(2_500)).await;
    assert_eq!(health.report("db").unwrap().failures, 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_does_not_make_an_old_result_count_again() {
    let script = Script::new();
    let (health, running) = start([script.check("db").critical().failure_threshold(3)]);
    sleep(secs(1)).await;
    running.abort();
    sleep(secs(31)).await;
    assert_eq!(health.report("db").unwrap().status, Status::Unknown);
    script.set(Mood::Down);
    let _running = tokio::spawn(health.run());
    sleep(secs(1)).await;
    assert_eq!(health.report("db").unwrap().failures, 1);
    assert_eq!(health.report("db").unwrap().status, Status::Unknown);
}

#[tokio::test(start_paused = true)]
async fn who_asks_after_a_timeout_does_not_wait_for_the_next_period() {
    let script = Script::new();
    let check = script.check("db").period(secs(600)).timeout(secs(2));
    let (health, _running) = start([check.initial_delay(secs(300))]);
    script.set(Mood::Hang);
    sleep(secs(1)).await;
    health.check_now("db").await.unwrap();
    script.set(Mood::Ok);
    let asked = Instant::now();
    let report = health.check_now("db").await.unwrap();
    assert!(asked.elapsed() < secs(5), "{:?}", asked.elapsed());
    assert_eq!(report.last.unwrap().status, Status::Ok);
}
