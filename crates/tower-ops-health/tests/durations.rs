//! "For ever" is a problem with a text, or a duration like any other: nothing panics.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::time::Duration;

use tokio::time::sleep;
use tower_ops_health::{Check, Health, HealthBuilder, Status};

const FOR_EVER: [Duration; 4] = [
    Duration::MAX,
    Duration::from_secs(u64::MAX),
    Duration::from_millis(u64::MAX),
    Duration::from_secs(1 << 40),
];

type Set = fn(Duration) -> HealthBuilder;

fn with(check: Check) -> HealthBuilder {
    Health::builder().check(check)
}

#[test]
fn settings_that_cannot_be_for_ever_say_so() {
    let settings: [(&str, Set); 5] = [
        ("period", |time| with(Check::always_ok("db").period(time))),
        ("timeout", |time| with(Check::always_ok("db").timeout(time))),
        ("initial_delay", |time| {
            with(Check::always_ok("db").initial_delay(time))
        }),
        ("stalled_after", |time| {
            Health::builder().stalled_after(time)
        }),
        ("blocked_after", |time| {
            Health::builder().blocked_after(time)
        }),
    ];
    for time in FOR_EVER {
        for (name, set) in &settings {
            let error = set(time).build().unwrap_err();
            let text = error.to_string();
            assert!(text.contains(&format!("{name}: ")), "{time:?}: {text}");
        }
    }
}

#[test]
fn a_check_that_is_added_later_is_held_to_the_same() {
    let health = Health::builder().build().unwrap();
    for time in FOR_EVER {
        for check in [
            Check::always_ok("db").period(time),
            Check::always_ok("db").timeout(time),
            Check::always_ok("db").initial_delay(time),
        ] {
            assert!(health.add(check).is_err(), "{time:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_may_be_good_for_ever() {
    for time in FOR_EVER {
        let health = with(Check::always_ok("db").stale_after(time));
        let health = health.build().unwrap();
        let running = tokio::spawn(health.run());
        sleep(Duration::from_secs(1)).await;
        running.abort();
        sleep(Duration::from_secs(1_000_000)).await;
        assert_eq!(health.reports()[0].status, Status::Ok, "{time:?}");
    }
}
