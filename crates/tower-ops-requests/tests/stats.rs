//! Totals, rates and quantiles, on a clock that is moved by hand.

use std::time::Duration;

use http::{Response, StatusCode};
use tokio::time::advance;
use tower::{Layer, Service};
use tower_ops_observe::{Class, RouteHook};
use tower_ops_requests::{Kind, Outcome, RequestTracker, Stats};
use tower_ops_testing::{Readied, ScriptedBody};

#[path = "support/drive.rs"]
mod drive;
use drive::{answer, elsewhere, exchange, get, poll};

/// One exchange of this route.
fn of_route(tracker: &RequestTracker, route: &'static str) {
    let inner = Readied::from_fn(|_: http::Request<()>| {
        let body = ScriptedBody::new().end_stream_flag(true);
        std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(body)))
    });
    let mut service = tracker.layer().layer(RouteHook::named(route).layer(inner));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    assert!(poll(&mut service.call(get("/"))).is_ready());
}

fn routes(stats: &Stats) -> Vec<(&str, u64)> {
    let routes = stats.routes.iter();
    routes
        .map(|route| (route.route.as_str(), route.total))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn rates_are_those_of_whole_seconds() {
    let tracker = RequestTracker::new();
    let rates = || {
        let rates = tracker.stats().rates;
        (rates.second, rates.ten_seconds, rates.minute)
    };
    for _ in 0..30 {
        exchange(&tracker, "/");
    }
    assert_eq!(rates(), (0.0, 0.0, 0.0), "the running second is not over");
    advance(Duration::from_secs(1)).await;
    assert_eq!(rates(), (30.0, 3.0, 0.5));
    advance(Duration::from_secs(1)).await;
    assert_eq!(rates(), (0.0, 3.0, 0.5));
    advance(Duration::from_secs(9)).await;
    assert_eq!(rates(), (0.0, 0.0, 0.5));
    advance(Duration::from_secs(50)).await;
    assert_eq!(rates(), (0.0, 0.0, 0.0));
}

#[tokio::test(start_paused = true)]
async fn totals_are_counted_by_outcome_class_and_route() {
    let tracker = RequestTracker::new();
    of_route(&tracker, "/a");
    of_route(&tracker, "/a");
    of_route(&tracker, "/b");
    let mut response = Response::new(ScriptedBody::new().end_stream_flag(true));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    drop(answer(&tracker, get("/"), response));
    drop(answer(
        &tracker,
        get("/"),
        Response::new(ScriptedBody::new()),
    ));

    let stats = tracker.stats();
    assert_eq!(stats.total(), 5);
    assert_eq!(stats.outcome(Outcome::Completed), 4);
    assert_eq!(stats.outcome(Outcome::CancelledDuringBody), 1);
    assert_eq!(stats.class(Class::Success), 3);
    assert_eq!(stats.class(Class::ServerError), 1);
    assert_eq!(routes(&stats), [("/a", 2), ("{unmatched}", 2), ("/b", 1)]);
    let unmatched = &stats.routes[1];
    assert_eq!(unmatched.kind, Kind::Request);
    assert_eq!(unmatched.class(Class::ServerError), 1);
    assert_eq!(unmatched.class(Class::Cancelled), 1);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_and_the_number_in_flight_are_shown() {
    let tracker = RequestTracker::new();
    assert_eq!(tracker.stats().oldest, None);
    let open = || answer(&tracker, get("/"), Response::new(ScriptedBody::new()));
    let first = open();
    advance(Duration::from_secs(5)).await;
    let second = open();
    let stats = tracker.stats();
    assert_eq!(
        (stats.in_flight, stats.oldest),
        (2, Some(Duration::from_secs(5)))
    );
    drop(first);
    let stats = tracker.stats();
    assert_eq!((stats.in_flight, stats.oldest), (1, Some(Duration::ZERO)));
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn quantiles_are_merged_from_all_threads() {
    let tracker = RequestTracker::new();
    for millis in 1..=200u64 {
        let open = answer(&tracker, get("/"), Response::new(ScriptedBody::new()));
        advance(Duration::from_millis(millis)).await;
        if millis % 2 == 0 {
            elsewhere(|| drop(open));
        } else {
            drop(open);
        }
    }
    let stats = tracker.stats();
    let route = &stats.routes[0];
    assert_eq!(route.total, 200);
    for (shown, millis) in [(route.p50, 100.0), (route.p95, 190.0), (route.p99, 198.0)] {
        let shown = shown.unwrap().as_secs_f64() * 1e3;
        assert!((shown / millis - 1.0).abs() < 0.02, "{shown} for {millis}");
    }
}

#[test]
fn the_first_routes_are_counted_apart_on_every_thread_and_the_rest_is_other() {
    let tracker = RequestTracker::builder().max_routes(2).build().unwrap();
    of_route(&tracker, "/a");
    of_route(&tracker, "/b");
    of_route(&tracker, "/c");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                // The first that this thread sees is one too many; those known already are not.
                of_route(&tracker, "/d");
                of_route(&tracker, "/b");
                of_route(&tracker, "/a");
            });
        }
    });
    let stats = tracker.stats();
    assert_eq!(routes(&stats), [("/a", 4), ("/b", 4), ("{other}", 4)]);
    assert_eq!(stats.total(), 12);
}
