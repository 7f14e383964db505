//! What is logged where a set-up is silently wrong, and what is not where it is right.
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tower_ops::Ops;
use tower_ops_testing::RawHttp1;

#[path = "support/log.rs"]
mod log;
use log::Log;

const LONG: Duration = Duration::from_secs(20);

fn ops() -> Ops {
    Ops::builder("test").for_tests().build().unwrap()
}

fn app() -> Router {
    Router::new().route("/", get(async || "hello"))
}

async fn ask(addr: SocketAddr, path: &str) -> u16 {
    let mut client = RawHttp1::connect(addr).await.unwrap();
    client.send_request("GET", path, &[], "").await.unwrap();
    client.read_head().await.unwrap().status.as_u16()
}

/// Everything on one thread, whose log is taken in.
fn with_log(act: impl AsyncFnOnce(Log)) {
    let log = Log::default();
    log.of(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(act(log.clone()));
    });
}

/// Serves it, sends a request to each path, and returns when this is in the log.
fn logs(app: impl FnOnce(&Ops) -> Router, paths: &'static [&'static str], part: &'static str) {
    with_log(async |log| {
        let ops = ops();
        let app = app(&ops);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move { ops.serve(listener, app).await });
        for path in paths {
            ask(addr, path).await;
        }
        let logged = async {
            while !log.has("WARN", part) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LONG, logged).await.expect(part);
        serving.abort();
    });
}

#[test]
fn requests_that_no_layer_sees_are_warned_of() {
    logs(|_| app(), &["/"], "none has passed ops.layer()");
}

#[test]
fn requests_that_are_answered_around_the_layer_are_warned_of() {
    let around = |ops: &Ops| {
        let early = from_fn(async |request: Request, next: Next| {
            if request.uri().path() == "/early" {
                return axum::response::IntoResponse::into_response("no further");
            }
            next.run(request).await
        });
        app().layer(ops.layer()).layer(early)
    };
    logs(
        around,
        &["/", "/early"],
        "answered before they reached ops.layer()",
    );
}

#[test]
fn the_layer_twice_is_warned_of() {
    let twice = |ops: &Ops| app().layer(ops.layer()).layer(ops.layer());
    logs(twice, &["/"], "keep only the outermost");
}

#[test]
fn a_set_up_that_is_right_is_not_warned_of() {
    with_log(async |log| {
        let ops = ops();
        // A request that a handler sends through a router with the layer is one of its own, and
        // those to the operations are none of the layer's.
        let inner = app().layer(ops.layer());
        let batch = get(async move || {
            let request = http::Request::get("/").body(axum::body::Body::empty());
            tower::ServiceExt::oneshot(inner, request.unwrap()).await
        });
        // What holds a request back around the layer has answered nothing if the client leaves.
        let held = Arc::new(AtomicBool::new(false));
        let holds = from_fn({
            let held = Arc::clone(&held);
            move |request: Request, next: Next| {
                let held = Arc::clone(&held);
                async move {
                    if request.uri().path() == "/held" {
                        held.store(true, Ordering::SeqCst);
                        std::future::pending::<()>().await;
                    }
                    next.run(request).await
                }
            }
        });
        let app = app()
            .route("/batch", batch)
            .layer(ops.layer())
            .layer(holds)
            .layer(ops.operations().layer("/ops"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let connections = ops.connections().clone();
        let serving = tokio::spawn(async move { ops.serve(listener, app).await });
        for path in ["/ops/health", "/", "/batch", "/nowhere"] {
            assert_eq!(
                ask(addr, path).await,
                if path == "/nowhere" { 404 } else { 200 }
            );
        }
        let mut client = RawHttp1::connect(addr).await.unwrap();
        let sent = client.send_request("GET", "/held", &[], "");
        sent.await.unwrap();
        while !held.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(1)).await;
        }
        drop(client);
        while !connections.is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
        // Longer than between two looks.
        sleep(Duration::from_millis(2_500)).await;
        assert!(log.has("INFO", "serving") && log.has("INFO", "operations="));
        assert!(!log.has("WARN", ""));
        serving.abort();
    });
}

#[test]
fn a_service_that_nobody_marks_ready_is_warned_of_after_a_minute() {
    for ready in [true, false] {
        let log = Log::default();
        log.of(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(async {
                let ops = ops();
                let _operations = ops.start_operations().unwrap();
                if ready {
                    ops.mark_ready();
                }
                sleep(Duration::from_secs(59)).await;
                assert!(!log.has("WARN", "mark_ready"));
                sleep(Duration::from_secs(2)).await;
                assert_eq!(log.has("WARN", "nothing has called mark_ready()"), !ready);
                assert!(log.has("INFO", "the operations endpoint listens"));
            });
        });
    }
}
