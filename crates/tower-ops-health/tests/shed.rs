//! Routes that are of no use while a check is down.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

#[path = "support/script.rs"]
mod script;

use std::convert::Infallible;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use script::{Mood, Script};
use tokio::time::sleep;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_ops_health::Health;

async fn ask<S>(service: S, path: &str, content_type: &str) -> (u16, HeaderMap, String)
where
    S: Service<Request<String>, Response = Response<String>, Error = Infallible>,
{
    let request = Request::post(path).header("content-type", content_type);
    let request = request.body(String::new()).unwrap();
    let Ok(response) = service.oneshot(request).await;
    let (head, body) = response.into_parts();
    (head.status.as_u16(), head.headers, body)
}

fn health(payments: &Script) -> Health {
    let check = payments
        .check("payments")
        .period(Duration::from_millis(1_500));
    let check = check.timeout(Duration::from_secs(1));
    let check = check.affects("/pay").affects("/shop.Orders/*");
    Health::builder().jitter(0.0).check(check).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_down_check_sheds_the_routes_that_it_names() {
    let payments = Script::new();
    let health = health(&payments);
    tokio::spawn(health.run());
    let inner = service_fn(|_: Request<String>| async {
        Ok::<_, Infallible>(Response::new("served".to_owned()))
    });
    let service = health.shed_layer().layer(inner);
    let code = async |path| ask(service.clone(), path, "text/plain").await.0;

    // Not known yet is not down.
    assert_eq!(code("/pay").await, 200);
    for mood in [Mood::Ok, Mood::Degraded] {
        payments.set(mood);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(code("/pay").await, 200);
    }
    payments.set(Mood::Down);
    sleep(Duration::from_secs(2)).await;
    let (code_, headers, body) = ask(service.clone(), "/pay", "text/plain").await;
    assert_eq!(
        (code_, &headers["retry-after"], &*body),
        (503, &"2".parse().unwrap(), "")
    );
    for path in ["/", "/pay/1", "/pays", "/shop.Other/Get"] {
        assert_eq!(code(path).await, 200, "{path}");
    }
    for (asked, answered) in [
        ("application/grpc", "application/grpc"),
        ("Application/gRPC+proto", "application/grpc"),
        ("application/grpc-web+proto", "application/grpc-web"),
        ("application/grpc-web-text", "application/grpc-web-text"),
    ] {
        let (code, headers, body) = ask(service.clone(), "/shop.Orders/Get", asked).await;
        assert_eq!((code, &*body), (200, ""));
        assert_eq!(headers["grpc-status"], "14");
        assert_eq!(headers["content-type"], answered);
    }
    assert_eq!(
        ask(service.clone(), "/shop.Orders/Get", "application/grpcx")
            .await
            .0,
        503
    );

    payments.set(Mood::Ok);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(code("/pay").await, 200);

    payments.set(Mood::Down);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(code("/pay").await, 503);
    assert!(health.remove("payments"));
    assert_eq!(code("/pay").await, 200);
}

/// As without the feature `axum`: the route is not known.
#[tokio::test(start_paused = true)]
async fn a_template_means_the_paths_that_fit_it_where_the_route_is_not_known() {
    let payments = Script::new();
    payments.set(Mood::Down);
    let check = payments.check("payments").affects("/orders/{id}");
    let health = Health::builder().check(check).build().unwrap();
    tokio::spawn(health.run());
    sleep(Duration::from_secs(1)).await;
    let inner = service_fn(|_: Request<String>| async {
        Ok::<_, Infallible>(Response::new("served".to_owned()))
    });
    let service = health.shed_layer().layer(inner);
    for (path, expected) in [("/orders/7", 503), ("/orders/7/x", 200), ("/other/7", 200)] {
        let code = ask(service.clone(), path, "text/plain").await.0;
        assert_eq!(code, expected, "{path}");
    }
}

#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn routes_are_templates_in_axum() {
    use axum::{Router, body::Body, routing::get};

    let payments = Script::new();
    payments.set(Mood::Down);
    let check = payments.check("payments").affects("/orders/{id}/pay");
    let health = Health::builder().check(check).build().unwrap();
    tokio::spawn(health.run());
    sleep(Duration::from_secs(1)).await;
    let router: Router = Router::new()
        .route("/orders/{id}", get(|| async { "an order" }))
        .route("/orders/{id}/pay", get(|| async { "paid" }))
        .layer(health.shed_layer());
    for (path, expected) in [
        ("/orders/1", 200),
        ("/orders/1/pay", 503),
        ("/orders/2/pay", 503),
    ] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let Ok(response) = router.clone().oneshot(request).await;
        assert_eq!(response.status(), expected, "{path}");
    }
}
