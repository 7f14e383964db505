//! One request, once it is let in and its body is decompressed.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use serde::Serialize;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};
use tower_ops_core::http::{Answer, codings, secure};
use tower_service::Service;

use crate::ask::Ask;
use crate::capture::Capture;
use crate::delivery::{Delivery, deliver};
use crate::error::{ErrorKind, StateError};
use crate::problem::problem;
use crate::received::Received;
use crate::record::Record;
use crate::restore::Restore;
use crate::segments::Segments;
use crate::shared::Shared;

const GENERATION: HeaderName = HeaderName::from_static("x-tower-ops-state-generation");
const DIGEST: HeaderName = HeaderName::from_static("x-tower-ops-state-digest");

/// So many bytes of a body at once, before others have their turn on the thread: a body
/// that is decompressed never has to wait by itself.
const TURN: usize = 256 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Exchange {
    shared: Arc<Shared>,
    ask: Ask,
    record: Record,
}

impl Exchange {
    pub(crate) const fn new(shared: Arc<Shared>, ask: Ask, record: Record) -> Self {
        Self {
            shared,
            ask,
            record,
        }
    }

    async fn answer<B>(self, request: Request<B>) -> Response<Delivery>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        let method = request.method().clone();
        let answered = match self.ask {
            Ask::Capture {
                hand_over,
                expected_generation,
            } => self.capture(hand_over, expected_generation).await,
            Ask::Measure {
                expected_generation,
            } => self.measure(expected_generation).await,
            Ask::Restore(how) => {
                let is_compressed = !codings(request.headers(), CONTENT_ENCODING).is_empty();
                self.restore(how, request.into_body(), is_compressed).await
            }
            Ask::Resume => Ok(self.resume()),
        };
        answered.unwrap_or_else(|error| {
            self.record.end_with(&Err::<(), _>(error.clone()));
            problem(&error).into_response(&method).map(Delivery::answer)
        })
    }

    async fn capture(
        &self,
        hand_over: bool,
        expected: Option<u64>,
    ) -> Result<Response<Delivery>, StateError> {
        let permit = self.shared.permit()?;
        self.shared.check_generation(expected)?;
        let captured = self.shared.capture(permit, hand_over).await?;
        let capture = &captured.capture;
        self.record.contents(capture.size(), capture.digest());
        let mut response = Response::new(());
        describe(&mut response, capture);
        let idle = self.shared.limits.idle_body_timeout;
        let body = deliver(captured, idle, self.record.clone());
        Ok(response.map(|()| body))
    }

    async fn measure(&self, expected: Option<u64>) -> Result<Response<Delivery>, StateError> {
        let permit = self.shared.permit()?;
        self.shared.check_generation(expected)?;
        let capture = self.shared.capture(permit, false).await?.capture;
        self.record.contents(capture.size(), capture.digest());
        self.record.end_with(&Ok(()));
        let mut response = Response::new(Delivery::empty());
        describe(&mut response, &capture);
        Ok(response)
    }

    async fn restore<B>(
        &self,
        how: Restore,
        body: B,
        is_compressed: bool,
    ) -> Result<Response<Delivery>, StateError>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        let limits = self.shared.limits;
        let deadline = Instant::now() + limits.restore_timeout;
        let permit = self.shared.permit()?;
        self.shared.check_restore(&how)?;
        let envelope = Received::new(limits.max_size, is_compressed);
        let reading = collect(body, envelope, limits.idle_body_timeout);
        let envelope = timeout_at(deadline, reading).await.map_err(|_| {
            let text = "the body took too long; nothing was changed";
            StateError::new(ErrorKind::TimedOut, text)
        })??;
        let shared = &self.shared;
        let restoring = shared.restore(permit, envelope, how, deadline, &self.record);
        let restored = restoring.await?;
        let mut response = json(&restored);
        head(&mut response, restored.generation, &restored.digest);
        Ok(response)
    }

    fn resume(&self) -> Response<Delivery> {
        let resumed = self.shared.fence.resume();
        let generation = self.shared.fence.generation();
        self.record.end_with(&Ok(()));
        json(&Resumed {
            resumed,
            generation,
        })
    }
}

#[derive(Serialize)]
struct Resumed {
    resumed: bool,
    generation: u64,
}

impl<B> Service<Request<B>> for Exchange
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError> + Send,
{
    type Response = Response<Delivery>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Delivery>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.clone().answer(request);
        Box::pin(async { Ok(answer.await) })
    }
}

/// Reads a body, and stops as soon as it is too large.
async fn collect<B>(body: B, mut envelope: Received, idle: Duration) -> Result<Segments, StateError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let mut body = pin!(body);
    let mut turn_ends = TURN;
    loop {
        let frame = timeout(idle, body.frame()).await.map_err(|_| {
            let text = format!("nothing more of the body came within {idle:?}");
            StateError::new(ErrorKind::TimedOut, text)
        })?;
        let Some(frame) = frame else {
            return envelope.finish();
        };
        let frame = frame.map_err(|error| {
            let text = format!("the body cannot be read: {}", error.into());
            StateError::new(ErrorKind::Broken, text)
        })?;
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        while data.has_remaining() {
            let chunk = data.chunk();
            let taken = envelope.push(chunk)?;
            data.advance(taken);
            if envelope.len() >= turn_ends {
                turn_ends = envelope.len() + TURN;
                yield_now().await;
            }
        }
    }
}

fn json(content: &impl Serialize) -> Response<Delivery> {
    let response = Answer::ok(content).into_response(&http::Method::POST);
    response.map(Delivery::answer)
}

fn describe<T>(response: &mut Response<T>, capture: &Capture) {
    head(response, capture.generation(), capture.digest());
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/json");
    headers.insert(CONTENT_TYPE, json);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(capture.size()));
    secure(headers);
}

fn head<T>(response: &mut Response<T>, generation: u64, digest: &str) {
    let headers = response.headers_mut();
    headers.insert(GENERATION, HeaderValue::from(generation));
    if let Ok(digest) = HeaderValue::try_from(format!("sha256:{digest}")) {
        headers.insert(DIGEST, digest);
    }
}
