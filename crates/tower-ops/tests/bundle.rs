//! The layer of the bundle, around whatever it can go around.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use axum::body::Body;
use axum::{Router, routing::get};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_ops::observe::RouteHook;
use tower_ops::request_id::RequestId;
use tower_ops::{Ops, OpsLayer};
use tower_ops_testing::{Readied, ScriptedBody};

fn ops() -> Ops {
    Ops::builder("test").private_recorder().build().unwrap()
}

fn routes() -> Router {
    Router::new()
        .route("/users/{id}", get(async || "a user"))
        .route(
            "/id",
            get(async || RequestId::current().unwrap().to_string()),
        )
        .route("/slow", get(async || pending::<()>().await))
        .route("/panic", get(panics))
}

async fn panics() {
    panic!("in the handler");
}

/// Sends a GET, reads the answer to its end, and returns status, headers and body.
async fn ask<S, B>(service: S, path: &str) -> (u16, HeaderMap, String)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let request = Request::get(path).body(Body::empty()).unwrap();
    let Ok(response) = service.oneshot(request).await;
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    (head.status.as_u16(), head.headers, body)
}

fn id(headers: &HeaderMap) -> &str {
    headers["x-request-id"].to_str().unwrap()
}

/// The one series of this name and its value.
#[track_caller]
fn one(ops: &Ops, name: &str) -> (String, f64) {
    let text = ops.prometheus().unwrap().render();
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with(&format!("{name}{{")))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let (series, value) = lines[0].rsplit_once(' ').unwrap();
    (series.to_owned(), value.parse().unwrap())
}

/// One exchange was recorded, with these labels among others.
#[track_caller]
fn assert_one(ops: &Ops, labels: &[&str], outcome_and_class: [&str; 2]) {
    let (series, count) = one(ops, "http_server_request_duration_seconds_count");
    assert_eq!(count, 1.0);
    for label in labels {
        assert!(series.contains(label), "{series} has no {label}");
    }
    let (series, count) = one(ops, "server_requests_total");
    assert_eq!(count, 1.0);
    let [outcome, class] = outcome_and_class;
    assert!(
        series.contains(&format!("outcome=\"{outcome}\"")),
        "{series}"
    );
    assert!(series.contains(&format!("class=\"{class}\"")), "{series}");
    let text = ops.prometheus().unwrap().render();
    assert!(
        text.lines()
            .any(|line| line == "server_in_flight_requests 0"),
        "{text}"
    );
}

#[tokio::test]
async fn inside_of_a_router_the_route_is_known_and_the_request_counted_once() {
    let ops = ops();
    let (status, headers, body) = ask(routes().layer(ops.layer()), "/users/7").await;
    assert_eq!((status, &*body), (200, "a user"));
    assert!(!id(&headers).is_empty());
    let labels = [
        "http_route=\"/users/{id}\"",
        "http_response_status_code=\"200\"",
        "http_request_method=\"GET\"",
    ];
    assert_one(&ops, &labels, ["completed", "success"]);
    let (_, bytes) = one(&ops, "http_server_response_body_size_bytes_sum");
    assert_eq!(bytes, 6.0);
}

#[tokio::test]
async fn handler_and_response_agree_on_the_request_id() {
    let app = routes().layer(ops().layer());
    let (_, headers, body) = ask(app.clone(), "/id").await;
    assert_eq!(id(&headers), body);
    let mut request = Request::get("/id").body(Body::empty()).unwrap();
    request
        .headers_mut()
        .insert("x-request-id", "mine-1".parse().unwrap());
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(id(response.headers()), "mine-1");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "mine-1");
}

#[tokio::test]
async fn the_request_id_header_is_the_one_that_was_chosen() {
    let builder = Ops::builder("test").private_recorder();
    let ops = builder
        .request_id_header("X-Correlation-Id")
        .build()
        .unwrap();
    let (_, headers, _) = ask(routes().layer(ops.layer()), "/users/7").await;
    assert!(headers.contains_key("x-correlation-id"));
    assert!(!headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn around_a_router_a_hook_tells_the_route() {
    let ops = ops();
    let app = ops.layer().layer(routes().layer(RouteHook::new()));
    let (status, headers, _) = ask(app, "/users/7").await;
    assert_eq!(status, 200);
    assert!(!id(&headers).is_empty());
    assert_one(
        &ops,
        &["http_route=\"/users/{id}\""],
        ["completed", "success"],
    );
}

#[tokio::test]
async fn a_path_that_no_route_has_is_unmatched() {
    let ops = ops();
    let (status, headers, _) = ask(ops.layer().layer(routes()), "/nowhere/7").await;
    assert_eq!(status, 404);
    assert!(!id(&headers).is_empty());
    let labels = [
        "http_route=\"{unmatched}\"",
        "http_response_status_code=\"404\"",
    ];
    assert_one(&ops, &labels, ["completed", "client_error"]);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_answers_504_with_the_request_id_and_counts_as_a_timeout() {
    let ops = ops();
    let app = routes().layer(ops.layer().with_timeout(Duration::from_secs(2)));
    let (status, headers, _) = ask(app, "/slow").await;
    assert_eq!(status, 504);
    assert!(!id(&headers).is_empty());
    let labels = [
        "http_route=\"/slow\"",
        "http_response_status_code=\"504\"",
        "error_type=\"504\"",
    ];
    assert_one(&ops, &labels, ["completed", "timeout"]);
    let (_, seconds) = one(&ops, "http_server_request_duration_seconds_sum");
    assert!((2.0..2.1).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn a_caught_panic_answers_500_with_the_request_id() {
    let ops = ops();
    let app = routes().layer(ops.layer().with_catch_panic());
    let (status, headers, body) = ask(app, "/panic").await;
    assert_eq!(status, 500);
    assert!(!id(&headers).is_empty());
    assert!(
        !body.contains("in the handler"),
        "the client learns nothing: {body}"
    );
    let labels = ["http_route=\"/panic\"", "http_response_status_code=\"500\""];
    assert_one(&ops, &labels, ["panicked", "server_error"]);
}

#[tokio::test]
async fn a_panic_that_nobody_catches_is_counted_as_one() {
    let ops = ops();
    let app = routes().layer(ops.layer());
    let task = tokio::spawn(async move { ask(app, "/panic").await });
    assert!(task.await.is_err_and(|error| error.is_panic()));
    let labels = ["http_route=\"/panic\"", "error_type=\"panic\""];
    assert_one(&ops, &labels, ["panicked", "server_error"]);
}

#[tokio::test(start_paused = true)]
async fn timeout_and_catch_panic_go_together_in_either_order() {
    const LIMIT: Duration = Duration::from_secs(2);
    async fn check<L>(layer: OpsLayer<L>)
    where
        OpsLayer<L>: Layer<axum::routing::Route> + Clone + Send + Sync + 'static,
        <OpsLayer<L> as Layer<axum::routing::Route>>::Service: Service<
                Request<Body>,
                Response: axum::response::IntoResponse + 'static,
                Error: Into<Infallible> + 'static,
                Future: Send + 'static,
            > + Clone
            + Send
            + Sync
            + 'static,
    {
        let app = routes().layer(layer);
        for (path, expected) in [("/users/7", 200), ("/panic", 500), ("/slow", 504)] {
            let (status, headers, _) = ask(app.clone(), path).await;
            assert_eq!(status, expected, "{path}");
            assert!(!id(&headers).is_empty());
        }
    }
    check(ops().layer().with_timeout(LIMIT).with_catch_panic()).await;
    check(ops().layer().with_catch_panic().with_timeout(LIMIT)).await;
}

#[tokio::test]
async fn every_layer_of_one_ops_counts_into_the_same_metrics() {
    let ops = ops();
    ask(routes().layer(ops.layer()), "/users/7").await;
    ask(
        ops.layer().layer(routes().layer(RouteHook::new())),
        "/users/8",
    )
    .await;
    assert_eq!(one(&ops, "server_requests_total").1, 2.0);
}

#[tokio::test]
async fn without_spans_the_rest_is_there() {
    let builder = Ops::builder("test").private_recorder();
    let ops = builder.without_spans().build().unwrap();
    let (_, headers, _) = ask(routes().layer(ops.layer()), "/users/7").await;
    assert!(!id(&headers).is_empty());
    assert_one(&ops, &[], ["completed", "success"]);
}

#[tokio::test]
async fn it_goes_into_a_service_builder_around_any_service() {
    let ops = ops();
    let service = ServiceBuilder::new()
        .layer(ops.layer().with_catch_panic())
        .service(Readied::from_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::from("plain")))
        }));
    let (status, headers, _) = ask(service, "/anything").await;
    assert_eq!(status, 200);
    assert!(!id(&headers).is_empty());
    assert_one(
        &ops,
        &["http_route=\"{unmatched}\""],
        ["completed", "success"],
    );
}

/// As `tonic::transport::Server` uses a layer: cloned for every connection, around a service whose
/// body is its own, and a call that is gRPC.
#[tokio::test]
async fn it_counts_a_grpc_call_by_its_trailers_with_a_request_id() {
    let builder = Ops::builder("test").private_recorder();
    let ops = builder.grpc_methods(["echo.Echo/Unary"]).build().unwrap();
    let service = ops
        .layer()
        .layer(Readied::from_fn(|_: Request<Body>| async {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "13".parse().unwrap());
            let body = ScriptedBody::new().data("frame").trailers(trailers);
            let response = Response::builder().header("content-type", "application/grpc");
            Ok::<_, Infallible>(response.body(body).unwrap())
        }));
    let request = Request::post("/echo.Echo/Unary").header("content-type", "application/grpc");
    let request = request.body(Body::empty()).unwrap();
    let response = service.clone().oneshot(request).await.unwrap();
    assert!(!id(response.headers()).is_empty());
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "13");
    let (series, count) = one(&ops, "rpc_server_call_duration_seconds_count");
    assert_eq!(count, 1.0);
    for label in [
        "rpc_method=\"echo.Echo/Unary\"",
        "rpc_response_status_code=\"INTERNAL\"",
    ] {
        assert!(series.contains(label), "{series}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_tracked_with_the_id_that_the_client_sees() {
    let ops = ops();
    let app = routes().layer(ops.layer());
    let (_, headers, _) = ask(app, "/users/42").await;
    let tracker = ops.requests().unwrap();
    let [ended] = &tracker.history()[..] else {
        panic!("not one: {:?}", tracker.history());
    };
    assert_eq!(ended.request_id.as_deref(), Some(id(&headers)));
    assert_eq!(ended.route.as_ref().unwrap().as_str(), "/users/{id}");
    assert_eq!(ended.path.as_deref(), Some("/users/42"));
    assert_eq!(tracker.in_flight_count(), 0);
}

#[tokio::test]
async fn without_requests_nothing_is_tracked_and_nothing_else_changes() {
    let builder = Ops::builder("test").private_recorder().without_requests();
    let ops = builder.build().unwrap();
    let app = routes().layer(ops.layer());
    assert_eq!(ask(app, "/users/42").await.0, 200);
    assert!(ops.requests().is_none());
    let labels = [r#"http_route="/users/{id}""#];
    assert_one(&ops, &labels, ["completed", "success"]);
    let answer = ops
        .operations()
        .oneshot(Request::get("/requests").body(String::new()).unwrap());
    assert_eq!(answer.await.unwrap().status(), 404);
}

#[tokio::test]
async fn details_of_requests_are_shown_only_if_set() {
    for (set, shown) in [(false, false), (true, true)] {
        let builder = Ops::builder("test").private_recorder().request_details(set);
        let ops = builder.build().unwrap();
        ask(routes().layer(ops.layer()), "/users/42").await;
        let history = Request::get("/requests/history")
            .body(String::new())
            .unwrap();
        let answer = ops.operations().oneshot(history).await.unwrap();
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(text.contains("/users/{id}"), "{text}");
        assert_eq!(text.contains("/users/42"), shown, "{text}");
    }
}
