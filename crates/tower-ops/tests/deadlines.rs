//! Whoever answers in the service's place speaks the caller's protocol.
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::future::pending;
use std::time::Duration;

use axum::{Router, body::Body, routing::any};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_ops::Ops;

const GRPC: &str = "application/grpc";
const WEB: &str = "application/grpc-web+proto";
const LIMIT: Duration = Duration::from_secs(2);

async fn panics() {
    panic!("as it was asked to");
}

fn routes() -> Router {
    let answer = |body: Body| {
        let response = Response::builder().header("content-type", GRPC);
        response.body(body).unwrap()
    };
    let chunk = || Ok::<_, std::io::Error>(Bytes::from_static(b"\0\0\0\0\0"));
    Router::new()
        .route("/never", any(async || pending::<()>().await))
        .route("/panic", any(panics))
        .route(
            "/pauses",
            any(async move || {
                let one = stream::once(async move { chunk() });
                answer(Body::from_stream(one.chain(stream::pending())))
            }),
        )
        .route(
            "/busy",
            any(async move || {
                let many = stream::repeat_with(chunk).then(async |chunk| {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    chunk
                });
                answer(Body::from_stream(many))
            }),
        )
}

fn ops() -> Ops {
    Ops::builder("test").private_recorder().build().unwrap()
}

/// The head, the body and the trailers.
async fn ask(
    app: Router,
    path: &str,
    headers: &[(&str, &str)],
) -> (http::response::Parts, Bytes, HeaderMap) {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let (head, body) = app.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    (head, body.to_bytes(), trailers)
}

fn counted(ops: &Ops, labels: &str) -> bool {
    ops.prometheus().unwrap().render().contains(labels)
}

#[tokio::test(start_paused = true)]
async fn a_timeout_and_a_panic_are_answered_in_the_callers_protocol() {
    for (path, http, code) in [("/never", 504, "4"), ("/panic", 500, "13")] {
        let ops = ops();
        let layer = ops.layer().with_timeout(LIMIT).with_catch_panic();
        let app = routes().layer(layer);
        let (head, _, _) = ask(app.clone(), path, &[]).await;
        assert_eq!(head.status, http, "{path}");
        for kind in [GRPC, WEB] {
            let (head, body, _) = ask(app.clone(), path, &[("content-type", kind)]).await;
            assert_eq!(head.status, 200, "{path} {kind}");
            assert_eq!(head.headers["grpc-status"], code, "{path} {kind}");
            assert!(body.is_empty(), "{path} {kind}");
            assert!(!head.headers["x-request-id"].is_empty());
        }
        if path == "/panic" {
            assert!(counted(&ops, "outcome=\"panicked\""));
            assert!(!counted(&ops, "outcome=\"completed\""));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_call_ends_it_wherever_it_is() {
    let ops = ops();
    let app = routes().layer(ops.layer());
    for (path, in_head) in [("/never", true), ("/pauses", false), ("/busy", false)] {
        let began = tokio::time::Instant::now();
        let headers = [("content-type", GRPC), ("grpc-timeout", "300m")];
        let (head, body, trailers) = ask(app.clone(), path, &headers).await;
        let took = began.elapsed().as_millis();
        assert!((300..400).contains(&took), "{path}: {took} ms");
        assert_eq!(head.status, 200, "{path}");
        let status = if in_head { &head.headers } else { &trailers };
        assert_eq!(status["grpc-status"], "4", "{path}");
        assert_eq!(body.is_empty(), in_head, "{path}");
    }
    assert!(counted(&ops, "DEADLINE_EXCEEDED"));
    assert!(!counted(&ops, "outcome=\"cancelled"));

    let headers = [("content-type", WEB), ("grpc-timeout", "300m")];
    let (_, body, _) = ask(app, "/pauses", &headers).await;
    let trailers = body.strip_prefix(b"\0\0\0\0\0\x80").unwrap();
    let text = String::from_utf8_lossy(&trailers[4..]);
    assert!(text.contains("grpc-status:4\r\n"), "{text}");
    assert_eq!(
        u32::from_be_bytes(trailers[..4].try_into().unwrap()),
        text.len() as u32
    );
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_cannot_be_read_and_one_of_a_plain_request_are_ignored() {
    let ops = ops();
    let app = routes().layer(ops.layer().with_timeout(LIMIT));
    for (kind, timeout, code) in [
        (GRPC, "300", Some("4")),
        (GRPC, "123456789m", Some("4")),
        (GRPC, "3x", Some("4")),
        ("text/plain", "300m", None),
    ] {
        let began = tokio::time::Instant::now();
        let headers = [("content-type", kind), ("grpc-timeout", timeout)];
        let (head, _, _) = ask(app.clone(), "/never", &headers).await;
        assert!(began.elapsed() >= LIMIT, "{kind} {timeout}");
        let status = head.headers.get("grpc-status");
        assert_eq!(status.map(|it| it.to_str().unwrap()), code, "{timeout}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_for_ever_is_none() {
    let limits = [Duration::MAX, Duration::from_secs(u64::MAX)];
    for limit in limits {
        let app = routes().layer(ops().layer().with_timeout(limit));
        let asking = ask(app, "/never", &[("grpc-timeout", "99999999H")]);
        let year = Duration::from_secs(365 * 24 * 3600);
        assert!(tokio::time::timeout(year, asking).await.is_err());
    }
    let app = routes().layer(ops().layer());
    let headers = [("content-type", GRPC), ("grpc-timeout", "99999999H")];
    let asking = ask(app, "/never", &headers);
    let year = Duration::from_secs(365 * 24 * 3600);
    assert!(tokio::time::timeout(year, asking).await.is_err());
}

const WEB_TEXT: &str = "application/grpc-web-text+proto";
/// A message whose bytes look like the beginning of trailers, and trailers; as they are, and as
/// each of the two in base64.
const MESSAGE: &[u8] = b"\0\0\0\0\x03\x80\x80\x80";
const STATUS: &[u8] = b"\x80\0\0\0\x0fgrpc-status:0\r\n";
const MESSAGE_TEXT: &[u8] = b"AAAAAAOAgIA=";
const STATUS_TEXT: &[u8] = b"gAAAAA9ncnBjLXN0YXR1czowDQo=";

/// Answers with these chunks, and ends a while after the deadline of a call.
fn web(kind: &'static str, chunks: Vec<Bytes>) -> Router {
    let answer = move || {
        let chunks = stream::iter(chunks.clone().into_iter().map(Ok::<_, std::io::Error>));
        let late = stream::once(tokio::time::sleep(LIMIT)).filter_map(async |()| None);
        let response = Response::builder().header("content-type", kind);
        response
            .body(Body::from_stream(chunks.chain(late)))
            .unwrap()
    };
    Router::new().route("/web", any(async move || answer()))
}

#[tokio::test(start_paused = true)]
async fn a_call_of_grpc_web_that_has_its_status_gets_no_second_one() {
    for (kind, message, status) in [
        (WEB, MESSAGE, STATUS),
        (WEB_TEXT, MESSAGE_TEXT, STATUS_TEXT),
    ] {
        let whole = [message, status].concat();
        for size in 1..=whole.len() {
            let chunks = whole.chunks(size).map(Bytes::copy_from_slice).collect();
            let app = web(kind, chunks).layer(ops().layer());
            let headers = [("content-type", kind), ("grpc-timeout", "300m")];
            let (_, body, _) = ask(app, "/web", &headers).await;
            assert_eq!(body, whole, "{kind} in chunks of {size}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_looks_like_a_status_is_none() {
    for (kind, whole) in [(WEB, MESSAGE), (WEB_TEXT, MESSAGE_TEXT)] {
        for size in 1..=whole.len() {
            let chunks = whole.chunks(size).map(Bytes::copy_from_slice).collect();
            let app = web(kind, chunks).layer(ops().layer());
            let headers = [("content-type", kind), ("grpc-timeout", "300m")];
            let began = tokio::time::Instant::now();
            let (_, body, _) = ask(app, "/web", &headers).await;
            assert!(began.elapsed() < LIMIT, "{kind} in chunks of {size}");
            assert!(body.len() > whole.len(), "{kind} in chunks of {size}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_in_the_head_is_the_only_one() {
    for kind in [GRPC, WEB, WEB_TEXT] {
        let answer = async move || {
            let late = stream::once(tokio::time::sleep(LIMIT)).filter_map(async |()| None);
            let body = Body::from_stream(late.map(Ok::<Bytes, std::io::Error>));
            let response = Response::builder().header("content-type", kind);
            response.header("grpc-status", "5").body(body).unwrap()
        };
        let app = Router::new().route("/head", any(answer));
        let headers = [("content-type", kind), ("grpc-timeout", "300m")];
        let (head, body, trailers) = ask(app.layer(ops().layer()), "/head", &headers).await;
        assert_eq!(head.headers["grpc-status"], "5", "{kind}");
        assert!(body.is_empty() && trailers.is_empty(), "{kind}");
    }
}
