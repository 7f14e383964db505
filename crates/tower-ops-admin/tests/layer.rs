//! On the application's own port.
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_ops_admin::{Admin, AdminRequestBody, Mount};
use tower_ops_testing::Readied;

fn admin() -> Admin {
    let jobs = service_fn(async |request: Request<AdminRequestBody>| {
        Ok::<_, Infallible>(Response::new(request.uri().to_string()))
    });
    let mount = Mount::new("/jobs", jobs).subpaths().about("jobs");
    Admin::builder("orders")
        .mount(mount)
        .base("/ops")
        .build()
        .unwrap()
}

async fn ask<S, B>(service: S, path: &str) -> (StatusCode, bool, String)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let request = Request::get(path).body(Full::default()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    let marked = response.headers().contains_key("x-tower-ops-version");
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, marked, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn what_is_below_the_prefix_is_the_endpoints_and_the_rest_is_not() {
    let calls = Arc::new(AtomicUsize::new(0));
    let application = {
        let calls = Arc::clone(&calls);
        // Panics if it is called without having been polled ready.
        Readied::from_fn(move |request: Request<Full<Bytes>>| {
            calls.fetch_add(1, Ordering::Relaxed);
            let path = request.uri().to_string();
            async move { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(path))) }
        })
    };
    let service = admin().layer("/ops").layer(application);
    for (path, is_ours, answer) in [
        ("/ops/jobs/7?a=b", true, "/jobs/7?a=b"),
        ("/ops/jobs", true, "/jobs"),
        ("http://host/ops/jobs", true, "http://host/jobs"),
        ("/", false, "/"),
        ("/opsy", false, "/opsy"),
        ("/jobs", false, "/jobs"),
        ("/x/ops", false, "/x/ops"),
    ] {
        let before = calls.load(Ordering::Relaxed);
        let (status, marked, body) = ask(service.clone(), path).await;
        assert_eq!(
            (status.as_u16(), marked, &*body),
            (200, is_ours, answer),
            "{path}"
        );
        let counted = calls.load(Ordering::Relaxed) > before;
        assert_eq!(counted, !is_ours, "{path}: the application must not see it");
    }
    for path in ["/ops", "/ops/"] {
        let (_, _, index) = ask(service.clone(), path).await;
        assert!(index.contains("/ops/jobs  jobs\n"), "{index}");
    }
    assert_eq!(ask(service, "/ops/nothing").await.0, 404);
}

#[tokio::test]
async fn slashes_around_the_prefix_make_no_difference() {
    let application = || {
        service_fn(async |_: Request<Full<Bytes>>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("application")))
        })
    };
    for prefix in ["ops", "/ops", "/ops/", "ops/"] {
        let service = admin().layer(prefix).layer(application());
        assert_eq!(
            ask(service.clone(), "/ops/jobs").await.2,
            "/jobs",
            "{prefix}"
        );
        assert_eq!(ask(service, "/orders").await.2, "application", "{prefix}");
    }
}

#[test]
fn a_prefix_that_takes_the_applications_own_paths_is_refused() {
    for prefix in [
        "", "/", "//", " ", "/ /", "/ops?x", "/ops#x", "/ops//x", "/опс",
    ] {
        let refused = std::panic::catch_unwind(|| admin().layer(prefix)).unwrap_err();
        let text = refused.downcast_ref::<String>().unwrap();
        assert!(text.contains("cannot stand below"), "{text}");
    }
    let _ = (admin().layer("ops"), admin().layer("/inside/ops"));
}

#[tokio::test]
async fn it_nests_in_a_router_and_around_one() {
    let router = || Router::new().route("/", get(async || "hello"));
    let nested: Router = router().nest_service("/ops", admin());
    let request = |path| Request::get(path).body(axum::body::Body::empty()).unwrap();
    for app in [
        nested,
        router()
            .fallback(async || "none")
            .layer(admin().layer("/ops")),
    ] {
        for (path, expected) in [("/", "hello"), ("/ops/jobs/7", "/jobs/7")] {
            let response = app.clone().oneshot(request(path)).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, expected, "{path}");
        }
        let response = app.oneshot(request("/ops/")).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let index = String::from_utf8(body.to_vec()).unwrap();
        assert!(index.contains("/ops/jobs"), "{index}");
    }
}
