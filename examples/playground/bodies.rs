//! Bodies that last, break, lie and never end.

use std::{io, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{Path, Request},
    response::Response,
};
use futures_util::stream;
use http::{HeaderValue, header};
use tokio::time::sleep;

use crate::limits::{self, Refusal, count, wait};

/// One chunk of a streamed body.
const CHUNK: [u8; 100] = {
    let mut chunk = [b'.'; 100];
    chunk[99] = b'\n';
    chunk
};

pub(crate) async fn streamed(Path((chunks, ms)): Path<(u64, u64)>) -> Result<Body, Refusal> {
    Ok(body(count(chunks)?, wait(ms)?, End::Complete))
}

pub(crate) async fn error_in_body(Path(chunks): Path<u64>) -> Result<Body, Refusal> {
    Ok(body(count(chunks)?, Duration::ZERO, End::Error))
}

pub(crate) async fn panic_in_body() -> Body {
    body(1, Duration::ZERO, End::Panic)
}

pub(crate) async fn panic_in_handler() {
    panic!("the playground was asked to panic in the handler");
}

/// Announces so many bytes and sends so many.
pub(crate) async fn short(Path((announced, sent)): Path<(u64, u64)>) -> Result<Response, Refusal> {
    let left = limits::bytes(sent)?;
    let body = Body::from_stream(stream::unfold(left, async |left| {
        let size = left.min(CHUNK.len() as u64);
        let chunk = Bytes::from_static(&CHUNK).slice(..size as usize);
        (size > 0).then(|| (Ok::<_, io::Error>(chunk), left - size))
    }));
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(announced));
    Ok(response)
}

/// The request body is the response body: nothing is collected, trailers included.
///
/// The head goes out at once, so a client that waits for `100 Continue` gets the 200 instead.
pub(crate) async fn echo(request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut response = Response::new(body);
    // HTTP/1.1 sends only the trailers that were announced.
    for name in [header::CONTENT_TYPE, header::TRAILER] {
        if let Some(value) = parts.headers.remove(&name) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// How a body made by [`body`] ends.
#[derive(Clone, Copy)]
enum End {
    Complete,
    Error,
    Panic,
}

fn body(chunks: u64, pause: Duration, end: End) -> Body {
    Body::from_stream(stream::unfold(0, move |sent| async move {
        if sent < chunks {
            if sent > 0 && !pause.is_zero() {
                sleep(pause).await;
            }
            return Some((Ok(Bytes::from_static(&CHUNK)), sent + 1));
        }
        if matches!(end, End::Complete) || sent > chunks {
            return None;
        }
        // hyper writes when a body is pending: without a pause nobody would see the chunks.
        sleep(Duration::from_millis(5)).await;
        if matches!(end, End::Panic) {
            panic!("the playground was asked to panic in the body");
        }
        let error = io::Error::other("the playground was asked to break the body");
        Some((Err(error), sent + 1))
    }))
}
