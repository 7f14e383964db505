//! `connection: close`, from the pre-drain on and on HTTP/1 only.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::convert::Infallible;
use std::task::{Context, Poll, Waker};

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use tower::ServiceExt as _;
use tower_layer::Layer as _;
use tower_ops_lifecycle::{Lifecycle, Phase, Trigger};
use tower_ops_testing::{Http2Client, RawHttp1, Readied, ScriptedBody, Server};
use tower_service::Service;

use self::timed::{builder, ms, ready};

#[path = "support/timed.rs"]
mod timed;

async fn answer(lifecycle: &Lifecycle, version: Version, status: u16) -> Response<()> {
    let inner = Readied::from_fn(move |_: Request<()>| async move {
        let keep = HeaderValue::from_static("upgrade");
        let mut response = Response::builder().status(status).body(()).unwrap();
        if status == 101 {
            response.headers_mut().insert(CONNECTION, keep);
        }
        Ok::<_, Infallible>(response)
    });
    let service = lifecycle.connection_close().layer(inner);
    let request = Request::builder().version(version).body(()).unwrap();
    service.oneshot(request).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn http1_is_asked_to_reconnect_once_the_process_is_about_to_stop() {
    let lifecycle = ready();
    lifecycle.on_drain("work", async |_| tokio::time::sleep(ms(1_000)).await);
    for version in [Version::HTTP_10, Version::HTTP_11] {
        assert!(answer(&lifecycle, version, 200).await.headers().is_empty());
    }
    let stopped = lifecycle.run();
    lifecycle.trigger(Trigger::Api);
    for phase in [Phase::PreDraining, Phase::Draining, Phase::Stopped] {
        lifecycle.wait_for(phase).await;
        for version in [Version::HTTP_10, Version::HTTP_11] {
            let response = answer(&lifecycle, version, 500).await;
            assert_eq!(response.headers()[CONNECTION], "close", "{phase}");
        }
    }
    stopped.await;
}

#[tokio::test]
async fn http2_and_upgrades_are_left_alone() {
    let lifecycle = ready();
    lifecycle.shutdown();
    for version in [Version::HTTP_2, Version::HTTP_3] {
        assert!(answer(&lifecycle, version, 200).await.headers().is_empty());
    }
    let upgrade = answer(&lifecycle, Version::HTTP_11, 101).await;
    assert_eq!(upgrade.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(upgrade.headers()[CONNECTION], "upgrade");

    // A tunnel, unless it was refused.
    for (status, closes) in [(200, false), (204, false), (502, true)] {
        let inner = Readied::from_fn(move |_: Request<()>| async move {
            Ok::<_, Infallible>(Response::builder().status(status).body(()).unwrap())
        });
        let service = lifecycle.connection_close().layer(inner);
        let request = Request::connect("a.example:443").body(()).unwrap();
        let response = service.oneshot(request).await.unwrap();
        assert_eq!(response.headers().contains_key(CONNECTION), closes);
    }
}

#[tokio::test]
async fn the_phase_counts_when_the_response_is_there() {
    let lifecycle = ready();
    let trigger = lifecycle.clone();
    let inner = Readied::from_fn(move |_: Request<()>| {
        let trigger = trigger.clone();
        async move {
            trigger.shutdown();
            Ok::<_, Infallible>(Response::new(()))
        }
    });
    let service = lifecycle.connection_close().layer(inner);
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.headers()[CONNECTION], "close");
}

#[tokio::test]
async fn readiness_and_errors_pass_through() {
    let lifecycle = ready();
    lifecycle.shutdown();
    let inner = Readied::from_fn(|_: Request<()>| async { Err::<Response<()>, _>("broken") });
    let layer = lifecycle.connection_close();
    let mut service = layer.layer(inner.pending_readiness(1));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_pending());
    assert_eq!(service.poll_ready(&mut cx), Poll::Ready(Ok(())));
    assert_eq!(service.call(Request::new(())).await.unwrap_err(), "broken");
}

#[tokio::test]
async fn on_real_connections() {
    let lifecycle = builder().build().unwrap();
    let hello = Readied::from_fn(|_: Request<hyper::body::Incoming>| async {
        Ok::<_, Infallible>(Response::new(ScriptedBody::new().data("hello")))
    });
    let server = Server::spawn(lifecycle.connection_close().layer(hello)).await;
    let mut http1 = RawHttp1::connect(server.addr()).await.unwrap();
    let http2 = Http2Client::connect(server.addr()).await.unwrap();

    lifecycle.shutdown();
    assert_eq!(http2.get("/").await.unwrap().status(), 200);
    assert_eq!(http2.get("/").await.unwrap().status(), 200, "it stays open");
    http1.send_request("GET", "/", &[], "").await.unwrap();
    let head = http1.read_head().await.unwrap();
    assert_eq!(head.headers[CONNECTION], "close");
    http1.read_body(&head).await.unwrap();
    let again = http1.send_request("GET", "/", &[], "").await;
    let closed = again.is_err() || http1.read_head().await.is_err();
    assert!(closed, "the server closes it");
}
