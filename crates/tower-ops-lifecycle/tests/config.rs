//! A configuration that cannot work is refused with everything that is wrong with it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::time::Duration;

use tower_ops_lifecycle::{
    ConfigError, DEFAULT_ABORT_TIMEOUT, DEFAULT_DRAIN_TIMEOUT, DEFAULT_GRACE_PERIOD,
    DEFAULT_HOOKS_TIMEOUT, DEFAULT_MARGIN, DEFAULT_PRE_DRAIN, Lifecycle, LifecycleBuilder,
};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn settings(error: &ConfigError) -> Vec<&str> {
    let problems = error.problems().iter();
    problems
        .filter_map(|it| Some(it.split_once(':')?.0))
        .collect()
}

fn refused(builder: &LifecycleBuilder) -> Vec<String> {
    let error = builder.validate().unwrap_err();
    settings(&error).into_iter().map(str::to_owned).collect()
}

#[test]
fn every_problem_is_returned_at_once_and_begins_with_its_setting() {
    let error = Lifecycle::builder()
        .hooks_timeout(secs(0))
        .drain_timeout(secs(60))
        .wait_for_quiet(secs(5))
        .expect_step("a")
        .expect_step("")
        .expect_step("a")
        .workers(0)
        .restart_count_file("/")
        .build()
        .unwrap_err();
    assert_eq!(
        settings(&error),
        [
            "hooks_timeout",
            "grace_period",
            "wait_for_quiet",
            "expect_step",
            "expect_step",
            "workers",
            "restart_count_file",
        ]
    );
    assert_eq!(error.to_string().lines().count(), 8);
}

#[test]
fn a_timeline_over_the_grace_period_is_refused_unless_allowed() {
    let fits = Lifecycle::builder().drain_timeout(secs(17));
    assert_eq!(fits.validate(), Ok(()));
    let over = Lifecycle::builder().drain_timeout(Duration::from_millis(17_001));
    let text = over.validate().unwrap_err().to_string();
    assert!(text.contains("30s is less than the 30.001s"), "{text}");
    assert!(text.contains("drain_timeout 17.001s"), "{text}");
    assert_eq!(
        over.clone().allow_over_grace_period(true).validate(),
        Ok(())
    );
    assert_eq!(over.grace_period(secs(31)).validate(), Ok(()));
}

#[test]
fn times_that_would_overflow_a_clock_are_refused_and_do_not() {
    let builder = Lifecycle::builder()
        .pre_drain(Duration::MAX)
        .drain_timeout(Duration::MAX)
        .grace_period(Duration::MAX)
        .allow_over_grace_period(true);
    assert_eq!(
        refused(&builder),
        ["pre_drain", "drain_timeout", "grace_period"]
    );
    let day = secs(24 * 60 * 60);
    let long = Lifecycle::builder().drain_timeout(day).grace_period(day);
    assert_eq!(long.allow_over_grace_period(true).validate(), Ok(()));
}

#[test]
fn a_window_has_to_fit_into_the_pre_drain() {
    for bad in [0, 5, 6] {
        let builder = Lifecycle::builder().wait_for_quiet(secs(bad));
        assert_eq!(refused(&builder), ["wait_for_quiet"], "{bad}");
    }
    let good = Lifecycle::builder().wait_for_quiet(secs(1));
    assert_eq!(good.validate(), Ok(()));
}

#[test]
fn the_defaults_are_valid_and_fit_kubernetes() {
    assert_eq!(Lifecycle::builder().validate(), Ok(()));
    let sum = DEFAULT_PRE_DRAIN
        + DEFAULT_DRAIN_TIMEOUT
        + DEFAULT_ABORT_TIMEOUT
        + DEFAULT_HOOKS_TIMEOUT
        + DEFAULT_MARGIN;
    assert!(sum <= DEFAULT_GRACE_PERIOD);
}

#[test]
fn a_time_that_no_clock_can_hold_is_an_error_that_names_its_setting() {
    type Set = fn(LifecycleBuilder, Duration) -> LifecycleBuilder;
    let settings: [(&str, Set); 6] = [
        ("pre_drain", |builder, time| builder.pre_drain(time)),
        ("drain_timeout", |builder, time| builder.drain_timeout(time)),
        ("abort_timeout", |builder, time| builder.abort_timeout(time)),
        ("hooks_timeout", |builder, time| builder.hooks_timeout(time)),
        ("margin", |builder, time| builder.margin(time)),
        ("grace_period", |builder, time| builder.grace_period(time)),
    ];
    for (name, set) in settings {
        for time in [
            Duration::MAX,
            secs(u64::MAX),
            secs(u64::MAX / 2),
            secs(86_401),
        ] {
            for over in [false, true] {
                let builder = Lifecycle::builder().allow_over_grace_period(over);
                assert_eq!(refused(&set(builder, time)), [name], "{time:?}");
            }
        }
    }
    let quiet = Lifecycle::builder().wait_for_quiet(Duration::MAX);
    assert_eq!(refused(&quiet), ["wait_for_quiet"]);
}

#[tokio::test(start_paused = true)]
async fn the_longest_times_and_a_hook_for_ever_are_carried_out() {
    let day = secs(86_400);
    let life = Lifecycle::builder()
        .signals(false)
        .pre_drain(day)
        .drain_timeout(day)
        .abort_timeout(day)
        .hooks_timeout(day)
        .margin(day)
        .grace_period(day)
        .allow_over_grace_period(true)
        .build()
        .unwrap();
    let hook = tower_ops_lifecycle::Hook::new("long").timeout(Duration::MAX);
    life.on_stop(hook, async || ());
    life.mark_ready();
    life.shutdown();
    assert!(life.run().await.is_clean());
}
