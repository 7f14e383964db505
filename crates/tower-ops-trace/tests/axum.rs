//! With axum the span knows the route by itself.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::{Router, routing::get};
use http::Request;
use tower::ServiceExt;
use tower_ops_trace::TraceLayer;

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
