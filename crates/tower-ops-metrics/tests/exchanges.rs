//! What is recorded about one exchange, whichever way it ends.

#![cfg(feature = "prometheus")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::error::Error;
use std::future::{pending, poll_fn};
use std::io;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use tokio::time::{advance, sleep};
use tower::{Service, ServiceExt};
use tower_layer::Layer;
use tower_ops_metrics::{Metrics, Prometheus};
use tower_ops_observe::{ObserveService, RouteHook, RouteHookService};
use tower_ops_testing::{FromFn, Readied, ScriptedBody};

use self::scrape::Scrape;

#[allow(dead_code, reason = "each test takes what it needs of it")]
#[path = "support/scrape.rs"]
mod scrape;

type BoxError = Box<dyn Error + Send + Sync>;
type Observed<F> = ObserveService<RouteHookService<Readied<FromFn<F>>>, Metrics>;
type Answer = Result<Response<ScriptedBody>, BoxError>;

const DURATION: &str = "http_server_request_duration_seconds";
const FIRST_BYTE: &str = "http_server_time_to_first_byte_seconds";
const REQUEST_SIZE: &str = "http_server_request_body_size_bytes";
const RESPONSE_SIZE: &str = "http_server_response_body_size_bytes";
const RPC: &str = "rpc_server_call_duration_seconds";
const ROUTE: &str = "/users/{id}";

/// The labels of a GET of the route, before status and error.
const GET: [(&str, &str); 4] = [
    ("http_request_method", "GET"),
    ("http_route", ROUTE),
    ("network_protocol_version", "1.1"),
    ("url_scheme", "http"),
];

fn with<'a>(labels: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [labels, more].concat()
}

/// Metrics around a service on one route.
struct Bench {
    metrics: Metrics,
    prometheus: Prometheus,
}

impl Bench {
    fn new() -> Self {
        let (metrics, prometheus) = Metrics::builder().build_prometheus().unwrap();
        Self {
            metrics,
            prometheus,
        }
    }

    fn scrape(&self) -> Scrape {
        Scrape::of(&self.prometheus.render())
    }

    fn service<F, Fut>(&self, answer: F) -> Observed<F>
    where
        F: Fn(Request<()>) -> Fut,
        Fut: Future<Output = Answer>,
    {
        let inner = RouteHook::named(ROUTE).layer(Readied::from_fn(answer));
        self.metrics.layer().layer(inner)
    }

    /// Runs an exchange until its body or its error is through.
    async fn run<F, Fut>(&self, request: Request<()>, answer: F)
    where
        F: Fn(Request<()>) -> Fut,
        Fut: Future<Output = Answer>,
    {
        if let Ok(response) = self.service(answer).oneshot(request).await {
            let mut body = response.into_body();
            while let Some(Ok(_)) = body.frame().await {}
        }
    }

    async fn get(&self, response: impl Fn() -> Response<ScriptedBody>) {
        self.run(get(), |_| {
            let response = response();
            async { Ok(response) }
        })
        .await;
    }

    /// The gauges are back where they were.
    fn assert_idle(&self) {
        let scrape = self.scrape();
        assert_eq!(scrape.value("server_in_flight_requests", &[]), Some(0.0));
        let active = scrape.samples().iter();
        for gauge in active.filter(|sample| sample.name == "http_server_active_requests") {
            assert_eq!(gauge.value, 0.0, "{gauge:?}");
        }
    }

    /// One exchange was recorded: with these labels, outcome and class.
    fn assert_one(&self, labels: &[(&str, &str)], outcome: &str, class: &str) {
        let scrape = self.scrape();
        assert_eq!(scrape.total(&format!("{DURATION}_count")), 1.0);
        let recorded = scrape.histogram(DURATION, labels);
        assert!(recorded.is_some(), "{:?}", scrape.label_sets(DURATION));
        let ended = [("class", class), ("outcome", outcome)];
        assert_eq!(scrape.value("server_requests_total", &ended), Some(1.0));
        assert_eq!(scrape.total("server_requests_total"), 1.0);
        self.assert_idle();
    }
}

fn get() -> Request<()> {
    Request::get("/users/7?token=secret").body(()).unwrap()
}

fn status(status: StatusCode) -> Response<ScriptedBody> {
    let mut response = Response::new(ScriptedBody::new());
    *response.status_mut() = status;
    response
}

fn chunk() -> ScriptedBody {
    ScriptedBody::new().data(vec![b'x'; 100])
}

/// Polls a future that panics, and catches that.
async fn caught<F: Future>(future: F) {
    let mut future = Box::pin(future);
    poll_fn(|cx| {
        let poll = AssertUnwindSafe(|| future.as_mut().poll(cx).map(drop));
        match std::panic::catch_unwind(poll) {
            Ok(poll) => poll,
            Err(_) => std::task::Poll::Ready(()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_success_has_the_names_and_labels_of_the_conventions() {
    let bench = Bench::new();
    let request = Request::post("/users/7")
        .header("content-length", "5")
        .body(())
        .unwrap();
    bench
        .run(request, |_| async { Ok(Response::new(chunk())) })
        .await;

    let scrape = bench.scrape();
    let labels = [
        ("http_request_method", "POST"),
        ("http_response_status_code", "200"),
        ("http_route", ROUTE),
        ("network_protocol_version", "1.1"),
        ("url_scheme", "http"),
    ];
    // What a client announces is no size.
    assert_eq!(scrape.kind(REQUEST_SIZE), None);
    for name in [DURATION, FIRST_BYTE, RESPONSE_SIZE] {
        assert_eq!(scrape.kind(name), Some("histogram"), "{name}");
        let histogram = scrape.histogram(name, &labels);
        assert_eq!(histogram.map(|it| it.count), Some(1.0), "{name}");
        assert_eq!(scrape.label_sets(name).len(), 1, "{name}");
    }
    let active = [("http_request_method", "POST"), ("url_scheme", "http")];
    assert_eq!(
        scrape.value("http_server_active_requests", &active),
        Some(0.0)
    );
    assert_eq!(scrape.value("server_in_flight_requests", &[]), Some(0.0));
    let ended = [("class", "success"), ("outcome", "completed")];
    assert_eq!(scrape.value("server_requests_total", &ended), Some(1.0));
    assert_eq!(
        scrape.value("server_request_ids_replaced_total", &[]),
        Some(0.0)
    );
    assert_eq!(
        scrape.value("tower_ops_metrics_overflow_total", &[]),
        Some(0.0)
    );
    for (name, kind) in [
        ("http_server_active_requests", "gauge"),
        ("server_in_flight_requests", "gauge"),
        ("server_requests_total", "counter"),
        ("server_request_ids_replaced_total", "counter"),
        ("tower_ops_metrics_overflow_total", "counter"),
    ] {
        assert_eq!(scrape.kind(name), Some(kind), "{name}");
    }
}

#[tokio::test]
async fn a_404_has_its_status_and_no_error_type() {
    let bench = Bench::new();
    bench.get(|| status(StatusCode::NOT_FOUND)).await;
    let labels = with(&GET, &[("http_response_status_code", "404")]);
    bench.assert_one(&labels, "completed", "client_error");
}

#[tokio::test]
async fn a_5xx_has_its_status_as_error_type() {
    for (code, text, class) in [
        (StatusCode::INTERNAL_SERVER_ERROR, "500", "server_error"),
        (StatusCode::SERVICE_UNAVAILABLE, "503", "server_error"),
        (StatusCode::GATEWAY_TIMEOUT, "504", "timeout"),
    ] {
        let bench = Bench::new();
        bench.get(|| status(code)).await;
        let more = [("error_type", text), ("http_response_status_code", text)];
        bench.assert_one(&with(&GET, &more), "completed", class);
    }
}

#[tokio::test]
async fn a_service_error_has_no_status_no_first_byte_and_no_size() {
    let bench = Bench::new();
    bench
        .run(get(), |_| async { Err(io::Error::other("broken").into()) })
        .await;
    let labels = with(&GET, &[("error_type", "error")]);
    bench.assert_one(&labels, "failed", "server_error");
    let scrape = bench.scrape();
    for name in [FIRST_BYTE, RESPONSE_SIZE, REQUEST_SIZE] {
        assert!(scrape.label_sets(name).is_empty(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_error_is_told_from_other_errors() {
    let bench = Bench::new();
    let service = bench.metrics.layer().layer(
        tower::ServiceBuilder::new()
            .timeout(Duration::from_secs(1))
            .layer(RouteHook::named(ROUTE))
            .service(Readied::from_fn(|_: Request<()>| pending::<Answer>())),
    );
    assert!(service.oneshot(get()).await.is_err());
    let labels = with(&GET, &[("error_type", "timeout")]);
    bench.assert_one(&labels, "timed_out", "timeout");
}

#[tokio::test]
async fn a_body_error_keeps_the_status() {
    let bench = Bench::new();
    bench.get(|| Response::new(chunk().error("lost"))).await;
    let more = [
        ("error_type", "body_error"),
        ("http_response_status_code", "200"),
    ];
    let labels = with(&GET, &more);
    bench.assert_one(&labels, "body_failed", "server_error");
    let sent = bench.scrape().histogram(RESPONSE_SIZE, &labels).unwrap();
    assert_eq!((sent.count, sent.sum), (1.0, 100.0));
}

#[tokio::test(start_paused = true)]
async fn cancelled_before_the_head_has_no_status() {
    let bench = Bench::new();
    let mut service = bench.service(|_| pending::<Answer>());
    let call = service.ready().await.unwrap().call(get());
    let call = tokio::time::timeout(Duration::from_secs(3), call);
    assert!(call.await.is_err());
    let labels = with(&GET, &[("error_type", "cancelled")]);
    bench.assert_one(&labels, "cancelled_before_head", "cancelled");
    let scrape = bench.scrape();
    assert_eq!(scrape.histogram(DURATION, &labels).unwrap().sum, 3.0);
    assert!(scrape.label_sets(FIRST_BYTE).is_empty());
}

#[tokio::test]
async fn a_call_that_is_dropped_unpolled_is_counted_as_cancelled() {
    let bench = Bench::new();
    let mut service = bench.service(|_| pending::<Answer>());
    drop(service.ready().await.unwrap().call(get()));
    // The hook is run by the call, so the route is known.
    let labels = with(&GET, &[("error_type", "cancelled")]);
    bench.assert_one(&labels, "cancelled_before_head", "cancelled");
}

#[tokio::test]
async fn cancelled_in_the_body_keeps_the_status_and_what_was_sent() {
    let bench = Bench::new();
    let service = bench.service(|_| async { Ok(Response::new(chunk().stalled())) });
    let mut body = service.oneshot(get()).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().is_ok());
    drop(body);
    let more = [
        ("error_type", "cancelled"),
        ("http_response_status_code", "200"),
    ];
    let labels = with(&GET, &more);
    bench.assert_one(&labels, "cancelled_during_body", "cancelled");
    let sent = bench.scrape().histogram(RESPONSE_SIZE, &labels).unwrap();
    assert_eq!((sent.count, sent.sum), (1.0, 100.0));
}

#[tokio::test]
async fn a_panic_in_the_future_is_counted() {
    let bench = Bench::new();
    caught(bench.run(get(), |_| async { panic!("in the handler") })).await;
    let labels = with(&GET, &[("error_type", "panic")]);
    bench.assert_one(&labels, "panicked", "server_error");
}

#[tokio::test]
async fn a_panic_in_the_call_is_counted() {
    let bench = Bench::new();
    let in_call = |_: Request<()>| -> std::future::Ready<Answer> { panic!("in the call") };
    caught(bench.run(get(), in_call)).await;
    let labels = with(&GET, &[("error_type", "panic")]);
    bench.assert_one(&labels, "panicked", "server_error");
}

#[tokio::test]
async fn a_panic_in_the_body_keeps_the_status() {
    let bench = Bench::new();
    caught(bench.get(|| Response::new(chunk().panic()))).await;
    let more = [
        ("error_type", "panic"),
        ("http_response_status_code", "200"),
    ];
    bench.assert_one(&with(&GET, &more), "panicked", "server_error");
}

#[tokio::test]
async fn an_aborted_task_is_counted_as_cancelled() {
    let bench = Bench::new();
    let mut service = bench.service(|_| pending::<Answer>());
    let task = tokio::spawn(service.ready().await.unwrap().call(get()));
    tokio::task::yield_now().await;
    assert_eq!(
        bench.scrape().value("server_in_flight_requests", &[]),
        Some(1.0)
    );
    task.abort();
    assert!(task.await.is_err_and(|error| error.is_cancelled()));
    let labels = with(&GET, &[("error_type", "cancelled")]);
    bench.assert_one(&labels, "cancelled_before_head", "cancelled");
}

#[tokio::test]
async fn an_upgrade_counts_as_a_success_with_its_status() {
    let bench = Bench::new();
    let request = Request::get("/users/7").header("upgrade", "websocket");
    let answer = |_| async { Ok(status(StatusCode::SWITCHING_PROTOCOLS)) };
    bench.run(request.body(()).unwrap(), answer).await;
    let labels = with(&GET, &[("http_response_status_code", "101")]);
    bench.assert_one(&labels, "upgraded", "success");
}

#[tokio::test(start_paused = true)]
async fn the_duration_runs_to_the_end_of_the_body_and_the_first_byte_to_the_head() {
    let bench = Bench::new();
    let service = bench.service(|_| async {
        sleep(Duration::from_millis(30)).await;
        Ok(Response::new(chunk().data("y")))
    });
    let mut body = service.oneshot(get()).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().is_ok());
    advance(Duration::from_millis(400)).await;
    while body.frame().await.is_some() {}

    let scrape = bench.scrape();
    let labels = with(&GET, &[("http_response_status_code", "200")]);
    let first_byte = scrape.histogram(FIRST_BYTE, &labels).unwrap();
    assert_eq!(first_byte.bucket_of_one(), "0.05");
    assert!((first_byte.sum - 0.030).abs() < 0.002, "{first_byte:?}");
    let duration = scrape.histogram(DURATION, &labels).unwrap();
    assert_eq!(duration.bucket_of_one(), "0.5");
    assert!((duration.sum - 0.430).abs() < 0.002, "{duration:?}");
    let bounds: Vec<_> = duration.buckets.iter().map(|(bound, _)| &**bound).collect();
    let expected = "0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10 +Inf";
    assert_eq!(bounds.join(" "), expected);
}

#[tokio::test]
async fn a_streamed_body_is_one_sample_of_its_whole_size() {
    let bench = Bench::new();
    let block = || vec![b'x'; 100];
    bench
        .get(|| Response::new(chunk().pending().data(block()).pending().data(block())))
        .await;
    let labels = with(&GET, &[("http_response_status_code", "200")]);
    let sizes = bench.scrape().histogram(RESPONSE_SIZE, &labels).unwrap();
    assert_eq!((sizes.count, sizes.sum), (1.0, 300.0));
    assert_eq!(sizes.bucket_of_one(), "1000");
}

#[tokio::test]
async fn the_response_to_head_has_size_0() {
    let bench = Bench::new();
    let mut request = get();
    *request.method_mut() = Method::HEAD;
    bench
        .run(request, |_| async { Ok(Response::new(chunk().exact(100))) })
        .await;
    let scrape = bench.scrape();
    assert_eq!(scrape.total(&format!("{RESPONSE_SIZE}_count")), 1.0);
    assert_eq!(scrape.total(&format!("{RESPONSE_SIZE}_sum")), 0.0);
    assert_eq!(scrape.label_values("http_request_method").len(), 1);
    assert!(scrape.label_values("http_request_method").contains("HEAD"));
}

#[tokio::test]
async fn a_request_without_a_body_has_no_request_size() {
    let bench = Bench::new();
    bench.get(|| Response::new(ScriptedBody::new())).await;
    assert!(bench.scrape().label_sets(REQUEST_SIZE).is_empty());
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn the_size_of_a_request_is_recorded_also_without_a_head() {
    use axum::body::Body;

    let (metrics, prometheus) = Metrics::builder().build_prometheus().unwrap();
    let inner = Readied::from_fn(async |request: Request<Body>| {
        let _ = request.into_body().collect().await;
        Err::<Response<ScriptedBody>, _>(BoxError::from("broken"))
    });
    let request = Request::put("/users/7").body(Body::from("12345"));
    let service = metrics.layer().layer(inner);
    assert!(service.oneshot(request.unwrap()).await.is_err());
    let scrape = Scrape::of(&prometheus.render());
    assert_eq!(scrape.total(&format!("{REQUEST_SIZE}_count")), 1.0);
    assert_eq!(scrape.total(&format!("{REQUEST_SIZE}_sum")), 5.0);
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn a_request_that_is_read_after_its_answer_counts_for_all_that_came() {
    use axum::body::Body;

    let (metrics, prometheus) = Metrics::builder().build_prometheus().unwrap();
    // Answers at once, and hands the body out to be read on.
    let (accepted, mut reading) = tokio::sync::mpsc::unbounded_channel();
    let inner = Readied::from_fn(move |request: Request<Body>| {
        accepted.send(request.into_body()).unwrap();
        async { Ok::<_, BoxError>(Response::new(ScriptedBody::new())) }
    });
    let request = Request::post("/users/7").body(Body::from("12345"));
    let response = metrics.layer().layer(inner).oneshot(request.unwrap());
    assert!(response.await.unwrap().into_body().frame().await.is_none());

    let recorded = || {
        let scrape = Scrape::of(&prometheus.render());
        let count = scrape.total(&format!("{REQUEST_SIZE}_count"));
        (count, scrape.total(&format!("{REQUEST_SIZE}_sum")))
    };
    assert_eq!(recorded(), (0.0, 0.0));
    let body = reading.recv().await.unwrap();
    assert!(body.collect().await.is_ok());
    assert_eq!(recorded(), (1.0, 5.0));
}

#[tokio::test]
async fn the_gauge_of_a_scheme_goes_down_where_it_went_up() {
    /// Learns the scheme too late.
    struct Late;
    impl tower_ops_observe::Observe for Late {
        type Exchange = ();
        fn on_request<B>(&self, _: &mut Request<B>, facts: &mut tower_ops_observe::Facts) {
            facts.set_scheme(&http::uri::Scheme::HTTPS);
        }
        fn on_end(
            &self,
            (): &mut (),
            _: &tower_ops_observe::Ending<'_>,
            _: &tower_ops_observe::Facts,
        ) {
        }
    }
    let bench = Bench::new();
    let inner = Readied::from_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(chunk())));
    let layer = tower_ops_observe::ObserveLayer::new((bench.metrics.clone(), Late));
    drop(layer.layer(inner).oneshot(get()).await.unwrap());
    bench.assert_idle();
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn a_streamed_request_is_as_large_as_what_was_read() {
    use axum::{Router, body, routing::post};

    let (metrics, prometheus) = Metrics::builder().build_prometheus().unwrap();
    let app: Router = Router::new()
        .route(
            "/{kind}",
            post(|body: body::Bytes| async move { body.len().to_string() }),
        )
        .layer(metrics.layer());
    let streamed = || body::Body::new(chunk().data(vec![b'x'; 150]));
    for body in [streamed(), body::Body::empty()] {
        let request = Request::post("/a").body(body).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert!(response.into_body().collect().await.is_ok());
    }
    let scrape = Scrape::of(&prometheus.render());
    assert_eq!(scrape.total(&format!("{DURATION}_count")), 2.0);
    assert_eq!(scrape.total(&format!("{REQUEST_SIZE}_count")), 1.0);
    assert_eq!(scrape.total(&format!("{REQUEST_SIZE}_sum")), 250.0);
    assert_eq!(
        scrape
            .label_values("http_route")
            .into_iter()
            .collect::<Vec<_>>(),
        ["/{kind}"]
    );
}

#[tokio::test]
async fn the_gauges_are_1_from_the_call_to_the_end_of_the_body() {
    let bench = Bench::new();
    let in_flight = || {
        let scrape = bench.scrape();
        let labels = [("http_request_method", "GET"), ("url_scheme", "http")];
        (
            scrape.value("server_in_flight_requests", &[]),
            scrape.value("http_server_active_requests", &labels),
        )
    };
    assert_eq!(in_flight(), (Some(0.0), None));
    let mut service = bench.service(|_| async { Ok(Response::new(chunk())) });
    let call = service.ready().await.unwrap().call(get());
    assert_eq!(in_flight(), (Some(1.0), Some(1.0)));
    let mut body = call.await.unwrap().into_body();
    assert_eq!(in_flight(), (Some(1.0), Some(1.0)));
    assert!(body.frame().await.unwrap().is_ok());
    assert_eq!(in_flight(), (Some(1.0), Some(1.0)));
    assert!(body.frame().await.is_none());
    assert_eq!(in_flight(), (Some(0.0), Some(0.0)));
    drop(body);
    assert_eq!(in_flight(), (Some(0.0), Some(0.0)));
    assert_eq!(bench.scrape().total("server_requests_total"), 1.0);
}

#[tokio::test]
async fn the_protocol_version_is_that_of_the_request_and_the_scheme_of_http2_too() {
    let bench = Bench::new();
    let versions = [
        (Version::HTTP_10, "1.0"),
        (Version::HTTP_11, "1.1"),
        (Version::HTTP_2, "2"),
        (Version::HTTP_3, "3"),
    ];
    for (version, _) in versions {
        let request = Request::get("https://a.example/users/7").version(version);
        let request = request.body(()).unwrap();
        bench
            .run(request, |_| async {
                Ok(Response::new(ScriptedBody::new()))
            })
            .await;
    }
    let scrape = bench.scrape();
    for (_, text) in versions {
        let labels = [
            ("http_request_method", "GET"),
            ("http_response_status_code", "200"),
            ("http_route", ROUTE),
            ("network_protocol_version", text),
            // A target over HTTP/1 says what its client likes.
            ("url_scheme", if text < "2" { "http" } else { "https" }),
        ];
        let recorded = scrape.histogram(DURATION, &labels);
        assert_eq!(recorded.map(|it| it.count), Some(1.0), "{text}");
    }
    bench.assert_idle();
}

#[tokio::test]
async fn a_prefix_stands_before_every_name() {
    let builder = Metrics::builder().prefix("orders_");
    let (metrics, prometheus) = builder.build_prometheus().unwrap();
    let inner =
        Readied::from_fn(|_: Request<()>| async { Ok::<_, BoxError>(Response::new(chunk())) });
    let response = metrics.layer().layer(inner).oneshot(get()).await.unwrap();
    assert!(response.into_body().collect().await.is_ok());
    let scrape = Scrape::of(&prometheus.render());
    for sample in scrape.samples() {
        assert!(sample.name.starts_with("orders_"), "{sample:?}");
    }
    assert_eq!(
        scrape.kind(&format!("orders_{DURATION}")),
        Some("histogram")
    );
}

#[tokio::test]
async fn buckets_are_those_that_were_asked_for() {
    let (metrics, prometheus) = Metrics::builder()
        .duration_buckets([0.25, 2.0])
        .size_buckets([64.0])
        .build_prometheus()
        .unwrap();
    let inner =
        Readied::from_fn(|_: Request<()>| async { Ok::<_, BoxError>(Response::new(chunk())) });
    let response = metrics.layer().layer(inner).oneshot(get()).await.unwrap();
    assert!(response.into_body().collect().await.is_ok());
    let scrape = Scrape::of(&prometheus.render());
    let bounds: Vec<_> = scrape.label_values("le").into_iter().collect();
    assert_eq!(bounds, ["+Inf", "0.25", "2", "64"]);
}

// gRPC

/// Runs calls of `echo.Echo/<method>` against one service and returns what was recorded.
async fn grpc(calls: Vec<(&'static str, Response<ScriptedBody>)>) -> Scrape {
    let bench = Bench::new();
    let answers = std::sync::Mutex::new(std::collections::VecDeque::new());
    let mut service = bench
        .metrics
        .layer()
        .layer(Readied::from_fn(|_: Request<()>| {
            let answer = answers.lock().unwrap().pop_front().unwrap();
            async { Ok::<_, BoxError>(answer) }
        }));
    for (method, response) in calls {
        answers.lock().unwrap().push_back(response);
        let request = Request::post(format!("/echo.Echo/{method}"))
            .version(Version::HTTP_2)
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let call = service.ready().await.unwrap().call(request);
        assert_eq!(
            bench.scrape().value("server_in_flight_requests", &[]),
            Some(1.0)
        );
        let response = call.await.unwrap();
        let mut body = response.into_body();
        while let Some(Ok(_)) = body.frame().await {}
    }
    bench.assert_idle();
    bench.scrape()
}

fn grpc_response(body: ScriptedBody) -> Response<ScriptedBody> {
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(body).unwrap()
}

fn trailers(code: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.parse().unwrap());
    trailers
}

fn trailers_only(code: &str) -> Response<ScriptedBody> {
    let mut response = grpc_response(ScriptedBody::new().end_stream_flag(true));
    response.headers_mut().extend(trailers(code));
    response
}

fn assert_no_http(scrape: &Scrape) {
    let mut names = scrape.samples().iter().map(|sample| &sample.name);
    assert_eq!(names.find(|name| name.starts_with("http_")), None);
}

#[tokio::test]
async fn a_grpc_call_has_the_status_of_its_trailers_and_is_no_http_request() {
    let body = chunk().trailers(trailers("0"));
    let scrape = grpc(vec![("Unary", grpc_response(body))]).await;
    let labels = [
        ("rpc_method", "echo.Echo/Unary"),
        ("rpc_response_status_code", "OK"),
        ("rpc_system_name", "grpc"),
    ];
    assert_eq!(scrape.kind(RPC), Some("histogram"));
    assert_eq!(scrape.histogram(RPC, &labels).unwrap().count, 1.0);
    let ended = [("class", "success"), ("outcome", "completed")];
    assert_eq!(scrape.value("server_requests_total", &ended), Some(1.0));
    assert_no_http(&scrape);
}

#[tokio::test]
async fn only_server_errors_of_grpc_have_an_error_type() {
    for (number, code, error, class) in [
        ("1", "CANCELLED", None, "cancelled"),
        (
            "4",
            "DEADLINE_EXCEEDED",
            Some("DEADLINE_EXCEEDED"),
            "timeout",
        ),
        ("5", "NOT_FOUND", None, "client_error"),
        ("13", "INTERNAL", Some("INTERNAL"), "server_error"),
        ("14", "UNAVAILABLE", Some("UNAVAILABLE"), "server_error"),
    ] {
        let in_trailers = grpc_response(chunk().trailers(trailers(number)));
        for response in [in_trailers, trailers_only(number)] {
            // A success first: some of the codes alone do not show that the method is there.
            let success = grpc_response(chunk().trailers(trailers("0")));
            let scrape = grpc(vec![("Fail", success), ("Fail", response)]).await;
            let mut labels = vec![
                ("rpc_method", "echo.Echo/Fail"),
                ("rpc_response_status_code", code),
                ("rpc_system_name", "grpc"),
            ];
            labels.extend(error.map(|error| ("error_type", error)));
            let recorded = scrape.histogram(RPC, &labels);
            assert!(recorded.is_some(), "{code}: {:?}", scrape.label_sets(RPC));
            let ended = [("class", class), ("outcome", "completed")];
            assert_eq!(
                scrape.value("server_requests_total", &ended),
                Some(1.0),
                "{code}"
            );
            assert_no_http(&scrape);
        }
    }
}

#[tokio::test]
async fn a_grpc_method_that_nobody_registered_is_other() {
    let scrape = grpc(vec![
        ("Nope", trailers_only("12")),
        ("Nope2", trailers_only("12")),
    ])
    .await;
    let labels = [
        ("error_type", "UNIMPLEMENTED"),
        ("rpc_method", "_OTHER"),
        ("rpc_response_status_code", "UNIMPLEMENTED"),
        ("rpc_system_name", "grpc"),
    ];
    assert_eq!(scrape.histogram(RPC, &labels).unwrap().count, 2.0);
}

#[tokio::test]
async fn a_grpc_call_that_was_cut_has_no_status_code() {
    let scrape = grpc(vec![("Stream", grpc_response(chunk().error("lost")))]).await;
    let labels = [
        ("error_type", "body_error"),
        ("rpc_method", "echo.Echo/Stream"),
        ("rpc_system_name", "grpc"),
    ];
    assert_eq!(scrape.histogram(RPC, &labels).unwrap().count, 1.0);
}

#[tokio::test]
async fn an_answer_that_is_no_grpc_makes_it_an_http_request_and_no_gauge_negative() {
    let scrape = grpc(vec![("Unary", status(StatusCode::UNAUTHORIZED))]).await;
    assert!(scrape.label_sets(RPC).is_empty());
    assert_eq!(scrape.total(&format!("{DURATION}_count")), 1.0);
    assert!(scrape.samples().iter().all(|sample| sample.value >= 0.0));
}
