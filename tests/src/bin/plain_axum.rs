//! What an axum service is without tower-ops: `axum::serve` as its documentation
//! shows it, with the playground's routes that attacks and load aim at, and a
//! readiness that turns with the signal, as people write it. For comparisons.

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request};
use axum::http::StatusCode;
use axum::routing::{get, post};
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tower_ops_examples::echo::Playground;
use tower_ops_examples::playground::echo_server::EchoServer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let addr = env::var("APP_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let stopping = Arc::new(AtomicBool::new(false));
    let ready = {
        let stopping = Arc::clone(&stopping);
        async move || match stopping.load(Ordering::Relaxed) {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::OK,
        }
    };
    let app = Router::new()
        .route("/ready", get(ready))
        .route_service("/playground.Echo/{*method}", EchoServer::new(Playground))
        .route("/", get(async || "plain axum\n"))
        .route("/echo", post(echo))
        .route("/slow/{ms}", get(slow))
        .route("/stream/{chunks}/{ms}", get(streamed));
    let mut terminate = signal(SignalKind::terminate())?;
    axum::serve(TcpListener::bind(addr).await?, app)
        .with_graceful_shutdown(async move {
            terminate.recv().await;
            stopping.store(true, Ordering::Relaxed);
        })
        .await?;
    Ok(())
}

async fn echo(request: Request) -> Body {
    request.into_body()
}

async fn slow(Path(ms): Path<u64>) -> &'static str {
    sleep(Duration::from_millis(ms)).await;
    "waited\n"
}

async fn streamed(Path((chunks, ms)): Path<(u64, u64)>) -> Body {
    Body::from_stream(stream::unfold(0, move |sent| async move {
        if sent > 0 && ms > 0 {
            sleep(Duration::from_millis(ms)).await;
        }
        (sent < chunks).then(|| (Ok::<_, Infallible>(vec![b'.'; 100]), sent + 1))
    }))
}
