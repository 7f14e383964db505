//! Request bodies that are read late, or after the answer.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{Path, State},
    routing::{get, post},
};
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::time::sleep;

use crate::limits::{Refusal, wait};

/// How many bytes `/accept` has read in all.
#[derive(Clone, Default)]
struct Accepted(Arc<AtomicU64>);

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/accept", post(accept))
        .route("/accepted", get(accepted))
        .with_state(Accepted::default())
        .route("/think/{ms}", post(think))
}

/// Answers before the body is there, and reads it all the same.
async fn accept(State(accepted): State<Accepted>, mut body: Body) -> StatusCode {
    tokio::spawn(async move {
        while let Some(Ok(frame)) = body.frame().await {
            accepted.0.fetch_add(data(&frame), Ordering::Relaxed);
        }
    });
    StatusCode::ACCEPTED
}

async fn accepted(State(accepted): State<Accepted>) -> String {
    format!("{}\n", accepted.0.load(Ordering::Relaxed))
}

/// Asks for the body once, and does not look at it again before it has worked.
async fn think(Path(ms): Path<u64>, mut body: Body) -> Result<String, Refusal> {
    let time = wait(ms)?;
    let mut bytes = 0;
    let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await;
    if let Poll::Ready(Some(Ok(frame))) = &polled {
        bytes += data(frame);
    }
    let is_over = matches!(polled, Poll::Ready(None | Some(Err(_))));
    sleep(time).await;
    while !is_over && let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let text = format!("the body broke after {bytes} bytes: {error}\n");
            (StatusCode::BAD_REQUEST, text)
        })?;
        bytes += data(&frame);
    }
    Ok(format!("{bytes}\n"))
}

fn data(frame: &http_body::Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}
