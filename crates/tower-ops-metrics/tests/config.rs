//! Every problem of a configuration comes back in one error, and none is a panic.

use tower_ops_metrics::{DEFAULT_MAX_SERIES, Metrics, MetricsBuilder};

/// Changes the defaults, and returns the problems.
fn problems(change: impl FnOnce(MetricsBuilder) -> MetricsBuilder) -> Vec<String> {
    let builder = change(Metrics::builder());
    let checked = builder.validate();
    #[cfg(feature = "prometheus")]
    assert_eq!(checked, builder.clone().build_prometheus().map(drop));
    assert_eq!(checked, builder.build().map(drop));
    checked.map_or_else(|error| error.problems().to_vec(), |()| Vec::new())
}

/// There is one problem, of this setting.
#[track_caller]
fn assert_one(problems: &[String], setting: &str) {
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].starts_with(&format!("{setting}: ")),
        "{problems:?}"
    );
}

#[test]
fn the_defaults_are_valid() {
    assert_eq!(problems(|builder| builder), [""; 0]);
}

#[test]
fn a_prefix_is_letters_digits_and_underscores() {
    for prefix in ["", "a", "_", "orders_", "Orders2_"] {
        assert_eq!(
            problems(|builder| builder.prefix(prefix)),
            [""; 0],
            "{prefix}"
        );
    }
    for prefix in [
        "2orders_", "or-ders", "a b", "a\n", "a{", "ö", "a:", "a\"", " ",
    ] {
        assert_one(&problems(|builder| builder.prefix(prefix)), "prefix");
    }
}

#[test]
fn buckets_are_there_finite_and_ascending() {
    let long = vec![1.0; 100_000];
    for bounds in [
        &[][..],
        &[f64::NAN],
        &[1.0, f64::NAN, 2.0],
        &[1.0, f64::INFINITY],
        &[f64::NEG_INFINITY, 1.0],
        &[2.0, 1.0],
        &[1.0, 2.0, 2.0],
        &[0.0, -0.0],
        &long,
    ] {
        let found = problems(|builder| builder.duration_buckets(bounds).max_series(1_000_000));
        assert_one(&found, "duration_buckets");
        let found = problems(|builder| builder.size_buckets(bounds).max_series(1_000_000));
        assert_one(&found, "size_buckets");
    }
    let valid = problems(|builder| builder.duration_buckets([0.1]).size_buckets([0.0, 1e300]));
    assert_eq!(valid, [""; 0]);
}

#[test]
fn the_cap_on_series_has_bounds_and_the_error_names_them() {
    for cap in [0, 1, 50, 10_000_001, usize::MAX] {
        let found = problems(|builder| builder.max_series(cap));
        assert_one(&found, "max_series");
        assert!(found[0].contains(&cap.to_string()), "{found:?}");
    }
    for cap in [1_000, DEFAULT_MAX_SERIES, 10_000_000] {
        assert_eq!(
            problems(|builder| builder.max_series(cap)),
            [""; 0],
            "{cap}"
        );
    }
    // What the error calls the least is enough.
    let found = problems(|builder| builder.max_series(0));
    let least = found[0].split("between ").nth(1).unwrap();
    let least = least.split(',').next().unwrap().parse().unwrap();
    assert_eq!(problems(|builder| builder.max_series(least)), [""; 0]);
    assert_one(
        &problems(|builder| builder.max_series(least - 1)),
        "max_series",
    );
}

#[test]
fn all_problems_come_at_once() {
    let everything_wrong = Metrics::builder()
        .prefix("1-")
        .duration_buckets([])
        .size_buckets([2.0, 1.0])
        .max_series(0);
    let error = everything_wrong.build().unwrap_err();
    let settings: Vec<_> = error
        .problems()
        .iter()
        .map(|it| it.split(':').next())
        .collect();
    let expected = ["prefix", "duration_buckets", "size_buckets", "max_series"].map(Some);
    assert_eq!(settings, expected);
    let text = error.to_string();
    for problem in error.problems() {
        assert!(text.contains(&format!("\n  - {problem}")), "{text}");
    }
}

#[cfg(feature = "prometheus")]
#[test]
fn a_recorder_of_ones_own_and_a_new_one_exclude_each_other() {
    let recorder = std::sync::Arc::new(metrics::NoopRecorder);
    let builder = Metrics::builder().recorder(recorder).prefix("-");
    assert_one(builder.clone().build().unwrap_err().problems(), "prefix");
    let error = builder.build_prometheus().unwrap_err();
    assert_eq!(error.problems().len(), 2);
    assert!(error.problems()[1].starts_with("recorder: "));
}
