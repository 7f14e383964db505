//! The number of series stays bounded, whatever clients send and however many routes there are.

#![cfg(feature = "prometheus")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::{io, pin, thread};

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use tower::Service;
use tower_layer::Layer;
use tower_ops_metrics::{Metrics, MetricsBuilder, Prometheus};
use tower_ops_observe::{Ending, Facts, Observe, ObserveLayer, Route};
use tower_ops_testing::Readied;

use self::scrape::Scrape;

#[allow(dead_code, reason = "each test takes what it needs of it")]
#[path = "support/scrape.rs"]
mod scrape;

const DURATION: &str = "http_server_request_duration_seconds";
const RPC: &str = "rpc_server_call_duration_seconds";
const OVERFLOW: &str = "tower_ops_metrics_overflow_total";

/// Takes the path for the route, as if the router had a route for every path.
struct PathAsRoute;

impl Observe for PathAsRoute {
    type Exchange = ();

    fn on_request<B>(&self, request: &mut Request<B>, facts: &mut Facts) {
        facts.set_route(Route::from(Arc::from(request.uri().path())));
    }

    fn on_end(&self, _: &mut (), _: &Ending<'_>, _: &Facts) {}
}

/// Awaits what is ready whenever it is asked.
fn now<F: Future>(future: F) -> F::Output {
    let mut cx = Context::from_waker(Waker::noop());
    match pin::pin!(future).poll(&mut cx) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

/// One exchange on the route of the request's path. The service answers with the status in the
/// header `status`, as gRPC if the request is that, and with an error if there is none.
fn exchange<B: 'static>(metrics: &Metrics, request: Request<B>) {
    let mut service =
        ObserveLayer::new((PathAsRoute, metrics.clone())).layer(Readied::from_fn(answer));
    now(std::future::poll_fn(|cx| {
        Service::<Request<B>>::poll_ready(&mut service, cx)
    }))
    .unwrap();
    if let Ok(response) = now(service.call(request)) {
        assert!(now(response.into_body().collect()).is_ok());
    }
}

async fn answer<B>(request: Request<B>) -> Result<Response<Empty<bytes::Bytes>>, io::Error> {
    let Some(status) = request.headers().get("status") else {
        return Err(io::Error::other("broken"));
    };
    let mut response = Response::new(Empty::new());
    if let Some(grpc) = request.headers().get("content-type") {
        response.headers_mut().insert("content-type", grpc.clone());
        response.headers_mut().insert("grpc-status", status.clone());
    } else {
        *response.status_mut() = StatusCode::from_bytes(status.as_bytes()).unwrap();
    }
    Ok(response)
}

fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path)
}

fn get(path: &str) -> Request<()> {
    request("GET", path)
        .header("status", "200")
        .body(())
        .unwrap()
}

/// With histograms of four series each: 12 for a route's first status.
fn small(max_series: usize) -> MetricsBuilder {
    Metrics::builder()
        .duration_buckets([0.1])
        .size_buckets([100.0])
        .max_series(max_series)
}

/// The least `max_series` of [`small`].
fn least() -> usize {
    (0..).find(|&max| small(max).validate().is_ok()).unwrap()
}

fn scrape(prometheus: &Prometheus) -> Scrape {
    Scrape::of(&prometheus.render())
}

fn recorded(scrape: &Scrape) -> f64 {
    scrape.total(&format!("{DURATION}_count")) + scrape.total(&format!("{RPC}_count"))
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn a_hundred_thousand_paths_and_methods_are_one_route_and_one_method() {
    use axum::{Router, body::Body, routing::get};
    use tower::ServiceExt;

    const REQUESTS: u32 = 100_000;
    let (metrics, prometheus) = Metrics::builder().build_prometheus().unwrap();
    let mut app: Router = Router::new()
        .route("/users/{id}", get(|| async { "a user" }))
        .layer(metrics.layer());
    for n in 0..REQUESTS {
        let request = Request::builder()
            .method(Method::from_bytes(format!("NEEDLE{n}").as_bytes()).unwrap())
            .uri(format!("http://needle{n}/needle/{n}?needle={n}"))
            .header("user-agent", format!("needle{n}"))
            .body(Body::empty())
            .unwrap();
        let app = ServiceExt::<Request<Body>>::ready(&mut app).await.unwrap();
        let response = app.call(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert!(response.into_body().collect().await.is_ok());
    }
    let text = prometheus.render();
    assert!(!text.to_lowercase().contains("needle"));
    let scrape = Scrape::of(&text);
    let values = |label| scrape.label_values(label).into_iter().collect::<Vec<_>>();
    assert_eq!(values("http_route"), ["{unmatched}"]);
    assert_eq!(values("http_request_method"), ["_OTHER"]);
    assert_eq!(scrape.label_sets(DURATION).len(), 1);
    assert_eq!(scrape.total(OVERFLOW), 0.0);
    assert_eq!(recorded(&scrape), f64::from(REQUESTS));
    assert_eq!(scrape.total("server_requests_total"), f64::from(REQUESTS));
}

#[test]
fn invented_grpc_methods_are_one() {
    let (metrics, prometheus) = Metrics::builder().build_prometheus().unwrap();
    for n in 0..2_000 {
        let request = request("POST", &format!("/needle.Service/Method{n}"))
            .header("content-type", "application/grpc")
            .header("status", "12");
        exchange(&metrics, request.body(()).unwrap());
    }
    let scrape = scrape(&prometheus);
    assert_eq!(
        scrape
            .label_values("rpc_method")
            .into_iter()
            .collect::<Vec<_>>(),
        ["_OTHER"]
    );
    assert_eq!(recorded(&scrape), 2_000.0);
}

#[test]
fn the_cap_holds_to_the_line_and_nothing_is_lost() {
    // Each cap leaves another rest that no label set fits into.
    for cap in (0..14).map(|more| least() + 90 + more) {
        let (metrics, prometheus) = small(cap).build_prometheus().unwrap();
        let mut sent = 0.0;
        let mut with_body = 0.0;
        for n in 0..30 {
            for method in [
                "GET", "POST", "PUT", "DELETE", "PATCH", "QUERY", "OPTIONS", "ODD",
            ] {
                for status in [Some("200"), Some("404"), Some("500"), None] {
                    let mut request = request(method, &format!("/route{n}"));
                    if let Some(status) = status {
                        request = request.header("status", status);
                    }
                    if cfg!(feature = "axum") && method == "PUT" {
                        let body = axum::body::Body::from("7 bytes");
                        exchange(&metrics, request.body(body).unwrap());
                        with_body += 1.0;
                    } else {
                        exchange(&metrics, request.body(()).unwrap());
                    }
                    sent += 1.0;
                }
            }
            for code in ["0", "5", "13"] {
                let request = request("POST", &format!("/a.Service/Method{n}"))
                    .header("content-type", "application/grpc")
                    .header("status", code);
                exchange(&metrics, request.body(()).unwrap());
                sent += 1.0;
            }
            let lines = scrape(&prometheus).samples().len();
            assert!(lines <= cap, "{lines} series, the cap is {cap}");
        }
        let scrape = scrape(&prometheus);
        assert_eq!(recorded(&scrape), sent, "cap {cap}");
        assert_eq!(scrape.total("server_requests_total"), sent);
        let requests = "http_server_request_body_size_bytes_count";
        assert_eq!(scrape.total(requests), with_body, "cap {cap}");

        let mut overflowed = 0.0;
        for (histogram, label) in [(DURATION, "http_route"), (RPC, "rpc_method")] {
            let count = format!("{histogram}_count");
            let samples = scrape.samples().iter();
            let overflow: Vec<_> = samples
                .filter(|sample| sample.name == count && sample.labels[label] == "{overflow}")
                .collect();
            assert_eq!(overflow.len(), 1, "{histogram}");
            overflowed += overflow[0].value;
        }
        assert_eq!(scrape.total(OVERFLOW), overflowed);
        assert!(overflowed > sent / 2.0 && overflowed < sent);
    }
}

#[test]
fn the_least_cap_counts_everything_as_overflow() {
    let (metrics, prometheus) = small(least()).build_prometheus().unwrap();
    for n in 0..10 {
        exchange(&metrics, get(&format!("/route{n}")));
    }
    let scrape = scrape(&prometheus);
    let routes = scrape.label_values("http_route");
    assert_eq!(routes.into_iter().collect::<Vec<_>>(), ["{overflow}"]);
    assert_eq!(scrape.total(OVERFLOW), 10.0);
    assert_eq!(recorded(&scrape), 10.0);
}

#[test]
fn the_default_cap_is_enough_for_220_combinations() {
    let (metrics, prometheus) = Metrics::builder().build_prometheus().unwrap();
    for n in 0..220 {
        exchange(&metrics, get(&format!("/route{n}")));
    }
    let scrape = scrape(&prometheus);
    assert_eq!(scrape.total(OVERFLOW), 0.0);
    assert_eq!(scrape.label_values("http_route").len(), 220);
}

#[test]
fn a_label_set_that_is_there_is_found_also_after_the_cap() {
    let (metrics, prometheus) = small(least() + 12).build_prometheus().unwrap();
    exchange(&metrics, get("/first"));
    exchange(&metrics, get("/second"));
    exchange(&metrics, get("/first"));
    let scrape = scrape(&prometheus);
    assert_eq!(scrape.total(OVERFLOW), 1.0);
    let labels = [
        ("http_request_method", "GET"),
        ("http_response_status_code", "200"),
        ("http_route", "/first"),
        ("network_protocol_version", "1.1"),
        ("url_scheme", "http"),
    ];
    assert_eq!(scrape.histogram(DURATION, &labels).unwrap().count, 2.0);
}

#[test]
fn threads_that_insert_the_same_neither_count_twice_nor_leak_the_budget() {
    const THREADS: usize = 8;
    const ROUTES: usize = 40;
    for _ in 0..20 {
        // Just enough for the routes: whatever leaked would be missing below.
        let cap = least() + ROUTES * 12;
        let (metrics, prometheus) = small(cap).build_prometheus().unwrap();
        let start = Barrier::new(THREADS);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    for n in 0..ROUTES {
                        exchange(&metrics, get(&format!("/route{n}")));
                    }
                });
            }
        });
        let sent = (THREADS * ROUTES) as f64;
        let before = scrape(&prometheus);
        assert_eq!(recorded(&before), sent);
        assert_eq!(before.total("server_requests_total"), sent);
        assert_eq!(before.value("server_in_flight_requests", &[]), Some(0.0));

        for n in 0..ROUTES {
            exchange(&metrics, get(&format!("/route{n}")));
        }
        let after = scrape(&prometheus);
        assert_eq!(
            after.total(OVERFLOW),
            before.total(OVERFLOW),
            "budget leaked"
        );
        for n in 0..ROUTES {
            assert!(
                after
                    .label_values("http_route")
                    .contains(&*format!("/route{n}"))
            );
        }
        assert!(after.samples().len() <= cap);
        exchange(&metrics, get("/one-more"));
        assert_eq!(
            scrape(&prometheus).total(OVERFLOW),
            after.total(OVERFLOW) + 1.0
        );
    }
}

#[test]
fn hostile_route_text_is_escaped() {
    let routes = [
        "/a\"b",
        "/a\\b",
        "/a\nb",
        "/\"} 1\nfake{x=\"",
        "/ünïcödé",
        "",
    ];
    let (metrics, prometheus) = Metrics::builder().build_prometheus().unwrap();
    for route in routes {
        struct Hostile(&'static str);
        impl Observe for Hostile {
            type Exchange = ();
            fn on_request<B>(&self, _: &mut Request<B>, facts: &mut Facts) {
                facts.set_route(Route::from_static(self.0));
            }
            fn on_end(&self, _: &mut (), _: &Ending<'_>, _: &Facts) {}
        }
        let layer = ObserveLayer::new((Hostile(route), metrics.clone()));
        let mut service = layer.layer(Readied::from_fn(answer));
        now(std::future::poll_fn(|cx| service.poll_ready(cx))).unwrap();
        assert!(now(service.call(get("/"))).is_ok());
    }
    let scrape = scrape(&prometheus);
    for sample in scrape.samples() {
        let ours = ["http_server_", "server_", "tower_ops_"];
        assert!(
            ours.iter().any(|start| sample.name.starts_with(start)),
            "{sample:?}"
        );
    }
    let found: Vec<_> = scrape.label_values("http_route").into_iter().collect();
    for route in routes {
        assert!(found.contains(&route), "{route:?} is not among {found:?}");
    }
}
