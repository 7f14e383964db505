//! A configuration that cannot work is refused with everything that is wrong with it.

use std::time::Duration;

use tower_ops_requests::RequestTracker;

#[test]
fn every_problem_is_returned_at_once_and_begins_with_its_setting() {
    let error = RequestTracker::builder()
        .max_history(0)
        .max_routes(1_000_000)
        .slow_after(Duration::from_millis(1))
        .build()
        .unwrap_err();
    let settings: Vec<_> = error
        .problems()
        .iter()
        .filter_map(|problem| problem.split_once(':'))
        .map(|(setting, _)| setting)
        .collect();
    assert_eq!(settings, ["max_history", "max_routes", "slow_after"]);
    assert_eq!(error.to_string().lines().count(), 4);
}

#[test]
fn the_bounds_themselves_are_valid() {
    for (history, routes) in [(1, 1), (1_000_000, 10_000)] {
        let builder = RequestTracker::builder()
            .max_history(history)
            .max_routes(routes);
        assert_eq!(builder.validate(), Ok(()));
    }
}

#[test]
fn without_a_history_its_size_does_not_matter() {
    let builder = RequestTracker::builder().max_history(0).without_history();
    assert_eq!(builder.validate(), Ok(()));
}

#[test]
fn the_defaults_are_valid() {
    assert_eq!(RequestTracker::builder().validate(), Ok(()));
}
