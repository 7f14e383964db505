//! What an axum service is without tower-ops: `axum::serve` as its documentation
//! shows it, with the playground's routes that attacks and load aim at. For
//! comparisons.

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request};
use axum::routing::{get, post};
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let addr = env::var("APP_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let app = Router::new()
        .route("/", get(async || "plain axum\n"))
        .route("/echo", post(echo))
        .route("/slow/{ms}", get(slow))
        .route("/stream/{chunks}/{ms}", get(streamed));
    let mut terminate = signal(SignalKind::terminate())?;
    axum::serve(TcpListener::bind(addr).await?, app)
        .with_graceful_shutdown(async move {
            terminate.recv().await;
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
