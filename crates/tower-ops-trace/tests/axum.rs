//! With axum the span knows the route by itself.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_ops_trace::{AccessLog, RouteRule, Sampling, Spans, TraceLayer};

#[path = "support/recorder.rs"]
mod recorder;
use recorder::Recorder;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_route_is_axums_template() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _default = tracing::subscriber::set_default(subscriber);
    let handler = async || tracing::info!("in the handler");
    let app: Router = Router::new()
        .route("/users/{id}", get(handler))
        .layer(TraceLayer::new());
    let request = Request::get("/users/42").body(Body::empty()).unwrap();
    app.oneshot(request).await.unwrap();
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("http.route=\"/users/{id}\""), "{text}");
    assert!(!text.contains("/users/42"), "{text}");
}

#[tokio::test]
async fn the_access_log_knows_the_template_and_the_size_of_what_came_in() {
    let (recorder, _guard) = Recorder::start();
    let log = AccessLog::new().with_route("/status/{code}", RouteRule::Off);
    let sampling = Sampling::new().with_route("/users/{id}", RouteRule::Off);
    let spans = Spans::new().with_access_log(log).with_sampling(sampling);
    let app: Router = Router::new()
        .route("/users/{id}", post(async |body: String| body))
        .route("/status/{code}", get(async || "status"))
        .layer(spans.into_layer());
    for request in [
        Request::post("/users/42").body(Body::from("eleven byte")),
        Request::get("/status/404").body(Body::empty()),
        Request::get("/missing").body(Body::empty()),
    ] {
        let response = app.clone().oneshot(request.unwrap()).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    let [user, missing] = <[_; 2]>::try_from(recorder.access()).unwrap();
    assert_eq!(user.get("route"), Some("/users/{id}"));
    assert_eq!(user.get("bytes_in"), Some("11"));
    assert_eq!(user.get("bytes_out"), Some("11"));
    assert_eq!(
        user.get("trace_flags"),
        Some("02"),
        "not sampled, by its route"
    );
    assert_eq!(missing.get("route"), Some("{unmatched}"));
    assert_eq!(missing.get("status"), Some("404"));
    assert_eq!(missing.get("trace_flags"), Some("03"));
}
