//! A router that is called inside of a request changes nothing of the request's route.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use tower::{Layer, ServiceExt};
use tower_ops_observe::{ObserveLayer, RouteHook};

#[path = "support/record.rs"]
mod record;
use record::Recorder;

fn request(path: &str) -> Request {
    Request::get(path).body(Body::empty()).unwrap()
}

/// A router of its own, with a hook, for pages that others show.
fn pages() -> Router {
    Router::new()
        .route("/pages/{name}", get(async || "a page"))
        .nest_service(
            "/mounted",
            Router::new()
                .route("/{name}", get(async || "a page"))
                .layer(RouteHook::new()),
        )
        .layer(RouteHook::new())
}

async fn page(path: &str) {
    let Ok(_) = pages().oneshot(request(path)).await;
}

/// Calls the pages before the request goes on, and after.
async fn around_all(request: Request, next: Next) -> Response {
    page("/pages/before").await;
    page("/mounted/before").await;
    let response = next.run(request).await;
    page("/pages/after").await;
    page("/mounted/after").await;
    response
}

fn app() -> Router {
    Router::new()
        .route("/plain/{n}", get(async || "no call"))
        .route(
            "/once/{n}",
            get(async || {
                page("/pages/a").await;
                page("/mounted/a").await;
                "one after the other"
            }),
        )
        .route(
            "/joined/{n}",
            get(async || {
                tokio::join!(page("/pages/a"), page("/mounted/b"), page("/pages/c"));
                "at once"
            }),
        )
        .route(
            "/spawned/{n}",
            get(async || {
                tokio::spawn(page("/pages/a")).await.unwrap();
                "on another task"
            }),
        )
        .route(
            "/again/{n}",
            // The very request, on to another router.
            get(async |mut request: Request| {
                *request.uri_mut() = "/pages/a".parse().unwrap();
                pages().oneshot(request).await
            }),
        )
        .nest_service(
            "/service",
            Router::new()
                .route(
                    "/once/{n}",
                    get(async || {
                        page("/pages/a").await;
                        "in a mounted service"
                    }),
                )
                .layer(RouteHook::new()),
        )
}

const PATHS: [(&str, &str); 6] = [
    ("/plain/1", "/plain/{n}"),
    ("/once/1", "/once/{n}"),
    ("/joined/1", "/joined/{n}"),
    ("/spawned/1", "/spawned/{n}"),
    ("/again/1", "/again/{n}"),
    ("/service/once/1", "/service/once/{n}"),
];

#[tokio::test]
async fn with_the_layer_around_and_a_hook() {
    for (path, route) in PATHS {
        let recorder = Recorder::new();
        let hooked = app().layer(RouteHook::new());
        let service = ObserveLayer::new(recorder.clone()).layer(hooked);
        drop(service.oneshot(request(path)).await);
        assert_eq!(recorder.route().as_deref(), Some(route), "{path}");
    }
}

#[tokio::test]
async fn with_the_layer_inside() {
    for (path, route) in PATHS {
        let recorder = Recorder::new();
        let service = app().layer(ObserveLayer::new(recorder.clone()));
        drop(service.oneshot(request(path)).await);
        assert_eq!(recorder.route().as_deref(), Some(route), "{path}");
    }
}

#[tokio::test]
async fn with_calls_before_and_after_the_routing() {
    for (path, route) in PATHS {
        let recorder = Recorder::new();
        let hooked = app()
            .layer(RouteHook::new())
            .layer(middleware::from_fn(around_all));
        let around = middleware::from_fn(around_all).layer(hooked);
        let service = ObserveLayer::new(recorder.clone()).layer(around);
        drop(service.oneshot(request(path)).await);
        assert_eq!(recorder.route().as_deref(), Some(route), "{path}");
    }
}

#[tokio::test]
async fn with_calls_where_nothing_matches() {
    let recorder = Recorder::new();
    let app = Router::new()
        .fallback(async || page("/pages/not-found").await)
        .layer(RouteHook::new());
    let service = ObserveLayer::new(recorder.clone()).layer(app);
    drop(service.oneshot(request("/nowhere")).await);
    assert_eq!(recorder.route(), None);
}

#[tokio::test]
async fn with_a_callee_that_is_observed_too() {
    let (outer, callee) = (Recorder::new(), Recorder::new());
    let layer = ObserveLayer::new(callee.clone());
    let handler = async move || {
        drop(layer.layer(pages()).oneshot(request("/pages/a")).await);
        "called"
    };
    let app = Router::new()
        .route("/calling/{n}", get(handler))
        .layer(RouteHook::new());
    let service = ObserveLayer::new(outer.clone()).layer(app);
    drop(service.oneshot(request("/calling/1")).await);
    assert_eq!(outer.route().as_deref(), Some("/calling/{n}"));
    assert_eq!(callee.route().as_deref(), Some("/pages/{name}"));
}

#[tokio::test]
async fn two_layers_around_hear_the_same() {
    let (outer, inner) = (Recorder::new(), Recorder::new());
    let hooked = app().layer(RouteHook::new());
    let service =
        ObserveLayer::new(outer.clone()).layer(ObserveLayer::new(inner.clone()).layer(hooked));
    drop(service.oneshot(request("/once/1")).await);
    assert_eq!(outer.route().as_deref(), Some("/once/{n}"));
    assert_eq!(inner.route().as_deref(), Some("/once/{n}"));
}
