//! All problems are returned at once, in words.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::time::Duration;

use tower_ops_health::{Check, Details, Group, Health, HealthBuilder, Secret, Status};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn with(check: Check) -> HealthBuilder {
    Health::builder().check(check)
}

fn db() -> Check {
    Check::always_ok("db")
}

/// Each with what its one problem begins with, and a word of it.
fn bad() -> Vec<(HealthBuilder, &'static str, &'static str)> {
    let builder = Health::builder;
    vec![
        (
            with(Check::always_ok("")),
            "check \"\": name:",
            "64 letters",
        ),
        (
            with(Check::always_ok("a b")),
            "check \"a b\": name:",
            "letters, digits",
        ),
        (
            with(Check::always_ok("_defaults")),
            "check \"_defaults\": name:",
            "begin with",
        ),
        (
            with(Check::always_ok("ping")),
            "check \"ping\": name:",
            "taken",
        ),
        (with(Check::always_ok("x".repeat(65))), "check \"xxx", "64"),
        (
            with(Check::always_ok("readiness")),
            "check \"readiness\": name:",
            "group of that name",
        ),
        (with(db()).check(db()), "check \"db\":", "one of that name"),
        (
            with(db().timeout(secs(11))),
            "check \"db\": timeout: 11s",
            "the period, 10s",
        ),
        (
            with(db().timeout(secs(0))),
            "check \"db\": timeout:",
            "more than 0",
        ),
        (
            with(db().period(secs(90_000))),
            "check \"db\": period: 90000s",
            "86400s",
        ),
        (
            with(db().initial_delay(secs(90_000))),
            "check \"db\": initial_delay:",
            "86400s",
        ),
        (
            with(db().failure_threshold(0)),
            "check \"db\": failure_threshold:",
            "at least 1",
        ),
        (
            with(db().success_threshold(0)),
            "check \"db\": success_threshold:",
            "at least 1",
        ),
        (
            with(db().stale_after(secs(11))),
            "check \"db\": stale_after: 11s",
            "12s",
        ),
        (
            with(db().affects("orders")),
            "check \"db\": affects: \"orders\"",
            "begin with '/'",
        ),
        (
            with(db().group("reediness")),
            "check \"db\": group:",
            "but liveness, readiness, startup",
        ),
        (
            builder().concurrency(0),
            "concurrency: 0",
            "between 1 and 1000",
        ),
        (builder().jitter(0.6), "jitter: 0.6", "between 0 and 0.5"),
        (
            builder().jitter(f64::NAN),
            "jitter: NaN",
            "between 0 and 0.5",
        ),
        (
            builder().degraded_code(500),
            "degraded_code: 500",
            "neither 200 nor 207",
        ),
        (
            builder().stalled_after(secs(0)),
            "stalled_after: 0ns",
            "50ms",
        ),
        (
            builder().blocked_after(secs(7_200)),
            "blocked_after: 7200s",
            "None",
        ),
        (
            builder().details(Details::token("")),
            "details:",
            "the token: is shorter than 16 characters",
        ),
        (
            builder().details(Details::token(Secret::from_env("TOWER_OPS_NEVER_SET"))),
            "details:",
            "TOWER_OPS_NEVER_SET is not set",
        ),
        (
            builder().group(Group::new("a/b")),
            "group \"a/b\": name:",
            "letters",
        ),
        (
            builder().group(Group::new("a")).group(Group::new("a")),
            "group \"a\":",
            "declared twice",
        ),
        (
            builder().group(Group::new("a").unknown_is(Status::Unknown)),
            "group \"a\": unknown_is:",
            "ok, degraded or down",
        ),
    ]
}

#[test]
fn each_problem_is_named() {
    let bad = bad();
    assert!(bad.len() >= 20);
    for (builder, begins, contains) in bad {
        let found = builder.validate().unwrap_err();
        let error = builder.build().unwrap_err();
        assert_eq!(found, error);
        let [problem] = error.problems() else {
            panic!("{begins}: {error}");
        };
        assert!(
            problem.starts_with(begins),
            "{problem:?} should begin with {begins:?}"
        );
        assert!(
            problem.contains(contains),
            "{problem:?} should contain {contains:?}"
        );
    }
}

#[test]
fn all_problems_are_returned_at_once() {
    let builder = Health::builder()
        .concurrency(0)
        .jitter(-1.0)
        .degraded_code(404)
        .stalled_after(Duration::ZERO)
        .details(Details::token(""))
        .group(Group::new(""))
        .check(
            Check::always_ok("no good")
                .timeout(secs(20))
                .failure_threshold(0)
                .success_threshold(0)
                .affects("x")
                .group("nowhere"),
        )
        .check(db())
        .check(db());
    let error = builder.build().unwrap_err();
    assert_eq!(error.problems().len(), 13, "{error}");
    let text = error.to_string();
    assert!(text.starts_with("the configuration of the health checks is invalid:\n  - "));
    assert_eq!(text.lines().count(), 14);
}

#[test]
fn what_is_added_later_is_looked_at_as_well() {
    let health = Health::new();
    let check = db().failure_threshold(0).group("nowhere");
    assert_eq!(health.add(check).unwrap_err().problems().len(), 2);
    assert!(health.reports().is_empty());
    health.add(db()).unwrap();
    health.add(db()).unwrap_err();
}

#[test]
fn off_is_no_problem() {
    let builder = Health::builder()
        .details(Details::never())
        .blocked_after(None)
        .jitter(0.0)
        .degraded_code(207)
        .check(db().stale_after(None).group("readiness").group("liveness"));
    builder.validate().unwrap();
    builder.build().unwrap();
}
