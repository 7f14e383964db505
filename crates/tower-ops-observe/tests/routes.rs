//! The route of an exchange on axum, and the size of the request's body.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::{get, post};
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use tokio::sync::Notify;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_ops_observe::{KnownMethod, ObserveLayer, ObserveService, Outcome, RouteHook};

#[path = "support/record.rs"]
mod record;
use record::{Ended, Recorder, poll};

type Observed = ObserveService<Router, Recorder>;

/// Routes with and without parameters, flat, nested, and mounted as services.
fn router() -> Router {
    Router::new()
        .route("/users/{id}", get(async || "a user"))
        .route("/slow/{ms}", get(async || pending::<()>().await))
        .nest(
            "/nested",
            Router::new().route("/users/{id}", get(async || "a user")),
        )
        .nest_service(
            "/service",
            Router::new().route("/users/{id}", get(async || "a user")),
        )
        .nest_service(
            "/hooked",
            Router::new()
                .route("/users/{id}", get(async || "a user"))
                .layer(RouteHook::new()),
        )
        .nest_service(
            "/static",
            RouteHook::named("/static/{*path}").layer(service_fn(
                async |_: Request| -> Result<_, Infallible> { Ok(Response::new(Body::empty())) },
            )),
        )
}

/// The layer inside: put upon the router's routes.
fn inside(recorder: &Recorder) -> Router {
    router().layer(ObserveLayer::new(recorder.clone()))
}

/// The layer around a router that tells it nothing.
fn around(recorder: &Recorder) -> Observed {
    ObserveLayer::new(recorder.clone()).layer(router())
}

/// The layer around a router with the hook inside.
fn around_hook(recorder: &Recorder) -> Observed {
    ObserveLayer::new(recorder.clone()).layer(router().layer(RouteHook::new()))
}

fn request(path: &str) -> Request {
    Request::get(path).body(Body::empty()).unwrap()
}

/// How the exchange ended in which this service was sent this request and its answer was read.
async fn exchange<S, B>(service: fn(&Recorder) -> S, request: Request) -> (StatusCode, Ended)
where
    S: Service<Request, Response = Response<B>, Error = Infallible>,
    B: http_body::Body,
{
    let recorder = Recorder::new();
    let Ok(response) = service(&recorder).oneshot(request).await;
    let status = response.status();
    assert!(response.into_body().collect().await.is_ok());
    (status, recorder.only())
}

async fn route<S, B>(service: fn(&Recorder) -> S, path: &str) -> (u16, Option<String>)
where
    S: Service<Request, Response = Response<B>, Error = Infallible>,
    B: http_body::Body,
{
    let (status, ended) = exchange(service, request(path)).await;
    assert_eq!(ended.outcome, Outcome::Completed);
    (status.as_u16(), ended.route)
}

fn found(template: &str) -> (u16, Option<String>) {
    (200, Some(template.to_owned()))
}

// Inside of `Router::layer`.

#[tokio::test]
async fn inside_a_route_is_its_template() {
    assert_eq!(route(inside, "/users/7").await, found("/users/{id}"));
}

#[tokio::test]
async fn inside_a_nested_route_is_its_whole_template() {
    assert_eq!(
        route(inside, "/nested/users/7").await,
        found("/nested/users/{id}")
    );
}

#[tokio::test]
async fn inside_a_mounted_service_is_no_raw_path() {
    let (status, route) = route(inside, "/service/users/7").await;
    assert_eq!(status, 200);
    assert_eq!(route, None);
}

#[tokio::test]
async fn inside_a_mounted_service_with_a_hook_is_its_whole_template() {
    assert_eq!(
        route(inside, "/hooked/users/7").await,
        found("/hooked/users/{id}")
    );
}

#[tokio::test]
async fn inside_a_mounted_service_with_a_name_is_its_name() {
    assert_eq!(
        route(inside, "/static/css/a.css").await,
        found("/static/{*path}")
    );
}

#[tokio::test]
async fn inside_a_fallback_is_unmatched() {
    for path in [
        "/nowhere",
        "/nested/nowhere",
        "/service/nowhere",
        "/hooked/x",
    ] {
        assert_eq!(route(inside, path).await, (404, None), "{path}");
    }
}

#[tokio::test]
async fn inside_a_method_that_is_not_allowed_has_its_route() {
    let request = Request::delete("/users/7").body(Body::empty()).unwrap();
    let (status, ended) = exchange(inside, request).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(ended.route.as_deref(), Some("/users/{id}"));
    assert_eq!(ended.method, KnownMethod::Delete);
}

#[tokio::test]
async fn inside_a_route_is_known_when_it_is_cancelled_before_the_head() {
    let recorder = Recorder::new();
    let mut service = inside(&recorder);
    let mut future = service.call(request("/slow/1"));
    assert!(poll(&mut future).is_pending());
    drop(future);
    assert_eq!(recorder.only().outcome, Outcome::CancelledBeforeHead);
    assert_eq!(recorder.route().as_deref(), Some("/slow/{ms}"));
}

// Around the router.

#[tokio::test]
async fn around_without_a_hook_nothing_is_known() {
    for path in ["/users/7", "/nested/users/7", "/service/users/7"] {
        assert_eq!(route(around, path).await, (200, None), "{path}");
    }
    assert_eq!(route(around, "/nowhere").await, (404, None));
}

#[tokio::test]
async fn around_with_a_hook_a_route_is_its_template() {
    assert_eq!(route(around_hook, "/users/7").await, found("/users/{id}"));
    assert_eq!(
        route(around_hook, "/nested/users/7").await,
        found("/nested/users/{id}")
    );
}

#[tokio::test]
async fn around_with_a_hook_in_the_mounted_service_is_its_whole_template() {
    assert_eq!(
        route(around_hook, "/hooked/users/7").await,
        found("/hooked/users/{id}")
    );
    assert_eq!(
        route(around, "/hooked/users/7").await,
        found("/hooked/users/{id}")
    );
    assert_eq!(
        route(around, "/static/css/a.css").await,
        found("/static/{*path}")
    );
}

#[tokio::test]
async fn around_with_a_hook_a_fallback_is_unmatched() {
    for path in [
        "/nowhere",
        "/nested/nowhere",
        "/service/nowhere",
        "/hooked/x",
    ] {
        assert_eq!(route(around_hook, path).await, (404, None), "{path}");
    }
}

#[tokio::test]
async fn around_with_a_hook_a_method_that_is_not_allowed_has_its_route() {
    let request = Request::delete("/users/7").body(Body::empty()).unwrap();
    let (status, ended) = exchange(around_hook, request).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(ended.route.as_deref(), Some("/users/{id}"));
}

#[tokio::test]
async fn around_with_a_hook_a_route_is_known_once_the_future_was_polled() {
    let recorder = Recorder::new();
    let mut service = around_hook(&recorder);
    let mut future = service.call(request("/slow/1"));
    assert!(poll(&mut future).is_pending());
    drop(future);
    assert_eq!(recorder.only().outcome, Outcome::CancelledBeforeHead);
    assert_eq!(recorder.route().as_deref(), Some("/slow/{ms}"));
}

async fn broken() -> &'static str {
    panic!("scripted panic of a handler")
}

#[tokio::test]
async fn around_with_a_hook_a_route_is_known_when_its_handler_panics() {
    let recorder = Recorder::new();
    let broken = Router::new()
        .route("/panic/{n}", get(broken))
        .layer(RouteHook::new());
    let service = ObserveLayer::new(recorder.clone()).layer(broken);
    let task = tokio::spawn(service.oneshot(request("/panic/1")));
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(recorder.only().outcome, Outcome::Panicked);
    assert_eq!(recorder.route().as_deref(), Some("/panic/{n}"));
}

#[tokio::test]
async fn layers_around_and_inside_agree() {
    let (outer, inner) = (Recorder::new(), Recorder::new());
    let mut service =
        ObserveLayer::new(outer.clone()).layer(inside(&inner).layer(RouteHook::new()));
    let Ok(response) = service.call(request("/nested/users/7")).await;
    drop(response);
    assert_eq!(outer.route(), inner.route());
    assert_eq!(outer.route().as_deref(), Some("/nested/users/{id}"));
}

// Several exchanges on one thread.

/// A router whose handlers wait until they are told to go on.
fn gated() -> (Router, Arc<Notify>) {
    let gate = Arc::new(Notify::new());
    let wait = |gate: &Arc<Notify>| {
        let gate = Arc::clone(gate);
        get(async move || gate.notified().await)
    };
    let router = Router::new()
        .route("/a/{id}", wait(&gate))
        .route("/b/{id}", wait(&gate))
        .layer(RouteHook::new())
        // The hook is upon the routes above alone: this one tells nothing.
        .route("/silent/{id}", wait(&gate));
    (router, gate)
}

#[tokio::test]
async fn interleaved_exchanges_keep_their_own_routes() {
    let (router, gate) = gated();
    let recorder = Recorder::new();
    let mut service = ObserveLayer::new(recorder.clone()).layer(router);
    let paths = ["/a/1", "/silent/2", "/b/3", "/nowhere", "/silent/5"];
    let mut futures: Vec<_> = paths.map(|path| service.call(request(path))).into();
    let mut bodies = Vec::new();
    for (n, future) in futures.iter_mut().enumerate() {
        assert_eq!(poll(future).is_ready(), n == 3, "only the fallback answers");
    }
    futures.remove(3);
    for _ in 0..2 {
        for future in &mut futures {
            assert!(poll(future).is_pending());
        }
    }
    gate.notify_waiters();
    while let Some(mut future) = futures.pop() {
        let std::task::Poll::Ready(Ok(response)) = poll(&mut future) else {
            panic!("a response");
        };
        bodies.push(response.into_body());
    }
    for body in &mut bodies {
        record::drain(body).unwrap();
    }
    let mut routes: Vec<_> = recorder
        .endings()
        .into_iter()
        .map(|ended| (ended.request, ended.route))
        .collect();
    routes.sort();
    let expected = [Some("/a/{id}"), None, Some("/b/{id}"), None, None];
    for ((request, route), expected) in routes.iter().zip(expected) {
        assert_eq!(route.as_deref(), expected, "request {request}");
    }
    assert_eq!(routes.len(), 5);
}

#[tokio::test]
async fn an_exchange_after_another_does_not_inherit_its_route() {
    let recorder = Recorder::new();
    let mut service = around_hook(&recorder);
    for path in [
        "/users/7",
        "/nowhere",
        "/service/x",
        "/nested/users/7",
        "/nowhere",
    ] {
        let Ok(response) = service.call(request(path)).await;
        assert!(response.into_body().collect().await.is_ok());
    }
    let routes = recorder.endings().into_iter().map(|ended| ended.route);
    let routes: Vec<_> = routes.collect();
    assert_eq!(routes[0].as_deref(), Some("/users/{id}"));
    assert_eq!(routes[1], None);
    assert_eq!(routes[2].as_deref(), None);
    assert_eq!(routes[3].as_deref(), Some("/nested/users/{id}"));
    assert_eq!(routes[4], None);
}

/// A handler that calls another router in this process, through a client's layer.
fn calling(callee: BoxCloneSyncService<Request, Response<Body>, Infallible>) -> Router {
    Router::new()
        .route(
            "/call/{n}",
            get(async move || {
                let Ok(response) = callee.oneshot(request("/users/7")).await;
                response
            }),
        )
        .layer(RouteHook::new())
}

#[tokio::test]
async fn an_outgoing_exchange_does_not_tell_its_route_to_the_one_around_it() {
    let (outer, outgoing, callee) = (Recorder::new(), Recorder::new(), Recorder::new());
    let service = ServiceBuilder::new()
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(ObserveLayer::outgoing(outgoing.clone()))
        .service(around_hook(&callee));
    let service =
        ObserveLayer::new(outer.clone()).layer(calling(BoxCloneSyncService::new(service)));
    let Ok(response) = service.oneshot(request("/call/1")).await;
    assert!(response.into_body().collect().await.is_ok());
    assert_eq!(callee.route().as_deref(), Some("/users/{id}"));
    assert_eq!(outgoing.only().outcome, Outcome::Completed);
    assert_eq!(outer.route().as_deref(), Some("/call/{n}"));
}

// The size of the request's body.

fn echo(recorder: &Recorder) -> Router {
    Router::new()
        .route("/echo", post(async |request: Request| request.into_body()))
        .route("/ignore", post(async || "not read"))
        .route("/length", post(async |body: Bytes| body.len().to_string()))
        .layer(ObserveLayer::new(recorder.clone()))
}

fn streamed(chunks: &'static [&'static str]) -> Body {
    Body::from_stream(tokio_stream::iter(
        chunks.iter().map(|chunk| Ok::<_, Infallible>(*chunk)),
    ))
}

async fn request_bytes(path: &str, body: Body) -> Option<u64> {
    let request = Request::post(path).body(body).unwrap();
    let (status, ended) = exchange(echo, request).await;
    assert_eq!(status, StatusCode::OK);
    ended.request_bytes
}

#[tokio::test]
async fn a_streamed_body_is_counted_as_it_is_read() {
    let body = || streamed(&["ab", "", "cde"]);
    assert_eq!(request_bytes("/echo", body()).await, Some(5));
    assert_eq!(request_bytes("/length", body()).await, Some(5));
    assert_eq!(request_bytes("/ignore", body()).await, Some(0));
}

#[tokio::test]
async fn a_body_of_exact_size_is_counted_as_it_is_read() {
    assert_eq!(request_bytes("/echo", Body::from("abc")).await, Some(3));
    assert_eq!(request_bytes("/ignore", Body::from("abc")).await, Some(0));
}

#[tokio::test]
async fn an_empty_body_has_no_size() {
    assert_eq!(request_bytes("/echo", Body::empty()).await, None);
}

#[tokio::test]
async fn a_counted_body_passes_unchanged() {
    let recorder = Recorder::new();
    let request = Request::post("/echo").body(streamed(&["ab", "cde"]));
    let Ok(response) = echo(&recorder).oneshot(request.unwrap()).await;
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "abcde"
    );
}

#[tokio::test]
async fn an_error_of_a_counted_body_is_what_it_was() {
    // axum looks two boxes deep for what it answers with 413.
    let limited = Body::new(Limited::new(streamed(&["ab", "cde"]), 3));
    let recorder = Recorder::new();
    let request = Request::post("/length").body(limited).unwrap();
    let Ok(response) = echo(&recorder).oneshot(request).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    drop(response);
}
