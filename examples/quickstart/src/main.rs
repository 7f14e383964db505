//! An axum service with request ids, Prometheus metrics and probes.
//!
//! ```text
//! cargo run -p quickstart
//! ```
//!
//! The application listens on `APP_ADDR` (127.0.0.1:3000), its operations endpoint on `OPS_ADDR`
//! (127.0.0.1:8080). What it logs goes to the standard output, from level info on unless `RUST_LOG`
//! sets another, as text or with `LOG_FORMAT=json` as JSON: `serving`, with both addresses, as soon as
//! it listens on them, and one line for each request. From a second terminal:
//!
//! ```text
//! $ curl -i http://127.0.0.1:3000/users/42 -H 'x-request-id: demo-1'
//! HTTP/1.1 200 OK
//! content-type: text/plain; charset=utf-8
//! x-request-id: demo-1
//! content-length: 8
//! date: Sat, 21 Nov 2026 00:15:01 GMT
//!
//! user 42
//! $ curl http://127.0.0.1:8080/ready
//! {"status":"ok"}
//! $ curl -s http://127.0.0.1:8080/metrics | grep ^server_requests_total
//! server_requests_total{outcome="completed",class="success"} 1
//! ```
use std::{env, error::Error};

use axum::{Router, extract::Path, routing::get};
use tokio::net::TcpListener;
use tower_ops::Ops;
use tower_ops::logs::{self, Logs};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let _flushed_at_the_end = logs::init();
    let app_addr = env::var("APP_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let ops_addr = env::var("OPS_ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let ops = Ops::builder("quickstart")
        .logs(Logs::active())
        .ops_addr(&ops_addr)
        .build()?;

    let app = Router::new()
        .route("/", get(async || "hello\n"))
        .route("/users/{id}", get(user))
        .layer(ops.layer());

    let listener = TcpListener::bind(&app_addr)
        .await
        .map_err(|error| format!("cannot listen on {app_addr}: {error}"))?;
    eprintln!("{}", ops.serve(listener, app).await?);
    Ok(())
}

async fn user(Path(id): Path<String>) -> String {
    format!("user {id}\n")
}
