//! The service for `/state`.

mod capture_body;
mod request;

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, VARY};
use http::{HeaderValue, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use serde::Serialize;
use tokio::time::{Instant, timeout, timeout_at};
use tower_ops_core::http::{Answer, AnswerBody, codings, secure};
use tower_service::Service;

use self::capture_body::CaptureBody;
use self::request::{StateRequest, accepts_gzip, authorize};
use crate::audit::{Operation, Outcome};
use crate::envelope::{Collector, Received, Segments, unreadable};
use crate::error::{ErrorKind, StateError, StateResult};
use crate::state::StateInner;

const GENERATION: HeaderName = HeaderName::from_static("x-tower-ops-state-generation");
const DIGEST: HeaderName = HeaderName::from_static("x-tower-ops-state-digest");

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The service for `/state`. Made by [`State::service`](crate::State::service).
///
/// | request | answer |
/// |---|---|
/// | `GET /state` | the envelope; gzip if the client accepts it |
/// | `GET /state?fence=1` | the same, and from then on this instance does not write |
/// | `HEAD /state` | the length and the digest of the envelope |
/// | `POST /state` | restores the envelope in the body |
/// | `POST /state?dry_run=1` | reports what would change |
/// | `POST /state?resume=1` | opens the fence again |
/// | `OPTIONS /state` | the status that GET would have, without any effect |
///
/// `force=1`, `allow_missing=1` and `allow_unknown=1` are those of [`Restore`](crate::Restore), and
/// `If-Match: "7"` is its `expected_generation`. All answers but the envelope are short JSON.
/// Successful ones have the headers `x-tower-ops-state-generation` and `x-tower-ops-state-digest`.
///
/// The status of an error is that of its [`ErrorKind`]. Before that, a request gets 400 for a wrong
/// parameter, 401 without a valid token, 404 if no token is configured, 405 for another method, and
/// 415 for another content type or encoding.
///
/// It does not look at the path: mount it at `/state`. It is always ready to be called. The head of
/// a capture is sent when everything was serialised once, so that its status, length and digest are
/// right.
///
/// # Cancel safety
///
/// The future and the body of a response may be dropped at any time. A capture stops. A restore
/// stops unless the first participant already commits; then it goes on to its end without the
/// client.
#[derive(Clone, Debug)]
pub struct StateService {
    state: Arc<StateInner>,
}

impl StateService {
    pub(crate) const fn new(state: Arc<StateInner>) -> Self {
        Self { state }
    }
}

impl<B> Service<Request<B>> for StateService
where
    B: Body + Send + 'static,
    B::Data: Buf + Send,
    B::Error: Into<BoxError> + Send,
{
    type Response = Response<StateBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<StateBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match authorize(&self.state, &request) {
            Ok(authorized) => Box::pin(async { Ok(authorized.answer(request).await) }),
            Err(answer) => {
                let response = answer.into_response(request.method());
                Box::pin(ready(Ok(response.map(StateBody::new))))
            }
        }
    }
}

/// The body of a response of a [`StateService`].
///
/// An envelope that cannot be written to its end ends in an error, so that the client does not take
/// it for a whole one.
#[derive(Debug)]
pub struct StateBody(UnsyncBoxBody<Bytes, BoxError>);

impl StateBody {
    fn new(body: impl Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static) -> Self {
        Self(body.map_err(Into::into).boxed_unsync())
    }
}

impl Body for StateBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl StateRequest {
    async fn answer(
        self,
        request: Request<impl Body<Error: Into<BoxError>>>,
    ) -> Response<StateBody> {
        let method = request.method().clone();
        let answered = match self.operation {
            Operation::RESUME => Ok(self.resume()),
            Operation::RESTORE | Operation::DRY_RUN => self.restore(request).await,
            _ => self.capture(accepts_gzip(request.headers())).await,
        };
        let mut response = answered.unwrap_or_else(|error| {
            self.entry.end(error.kind().outcome());
            problem(&error).into_response(&method).map(StateBody::new)
        });
        response.extensions_mut().insert(self.token);
        response
    }

    async fn capture(&self, gzip: bool) -> StateResult<Response<StateBody>> {
        let permit = self.state.permit()?;
        self.state.check_generation(self.how.expected_generation)?;
        let hand_over = self.operation == Operation::HAND_OVER;
        let captured = self.state.capture(permit, hand_over).await?;
        let capture = &captured.capture;
        let size = capture.size();
        self.entry.set_contents(size, capture.digest());

        let mut response = Response::new(());
        describe(&mut response, capture.generation(), capture.digest());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        secure(headers);
        if self.operation == Operation::MEASURE {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
            self.entry.end(Outcome::OK);
            return Ok(response.map(|()| StateBody::new(AnswerBody::default())));
        }
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        } else {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
        }
        if cfg!(feature = "compression") {
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        let idle = self.state.settings.idle_body_timeout;
        let body = CaptureBody::send(captured, gzip, idle, self.entry.clone());
        Ok(response.map(|()| StateBody::new(body)))
    }

    async fn restore(
        &self,
        request: Request<impl Body<Error: Into<BoxError>>>,
    ) -> StateResult<Response<StateBody>> {
        let deadline = Instant::now() + self.state.settings.restore_timeout;
        let permit = self.state.permit()?;
        self.state.check_restore(self.how)?;
        let is_gzip = !codings(request.headers(), CONTENT_ENCODING).is_empty();
        let receiving = timeout_at(deadline, self.receive(request.into_body()));
        let envelope = receiving.await.map_err(|_| {
            let text = "the body took too long; nothing was changed";
            ErrorKind::TimedOut.error(text)
        })??;
        let received = Received { envelope, is_gzip };
        let (how, entry) = (self.how, &self.entry);
        let restoring = self.state.restore(permit, received, how, deadline, entry);
        let restored = restoring.await?;
        let mut response = json(&restored);
        describe(&mut response, restored.generation, &restored.digest);
        Ok(response)
    }

    /// Stops as soon as the body is too large.
    async fn receive(&self, body: impl Body<Error: Into<BoxError>>) -> StateResult<Segments> {
        let limit = self.state.settings.max_size;
        let idle = self.state.settings.idle_body_timeout;
        let mut body = pin!(body);
        let mut collector = Collector::new(limit);
        loop {
            let frame = timeout(idle, body.frame()).await.map_err(|_| {
                let text = format!("nothing more of the body came within {idle:?}");
                ErrorKind::TimedOut.error(text)
            })?;
            let Some(frame) = frame else {
                return Ok(collector.finish());
            };
            let frame = frame.map_err(|error| unreadable(error.into()))?;
            if let Ok(data) = frame.into_data() {
                let copied = io::copy(&mut data.reader(), &mut collector);
                copied.map_err(|_| StateError::too_large(limit))?;
            }
        }
    }

    fn resume(&self) -> Response<StateBody> {
        let resumed = self.state.fence.resume();
        let generation = self.state.fence.generation();
        self.entry.end(Outcome::OK);
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

fn json(content: &impl Serialize) -> Response<StateBody> {
    let response = Answer::ok(content).into_response(&Method::POST);
    response.map(StateBody::new)
}

fn describe<T>(response: &mut Response<T>, generation: u64, digest: &str) {
    let headers = response.headers_mut();
    headers.insert(GENERATION, HeaderValue::from(generation));
    if let Ok(digest) = HeaderValue::try_from(format!("sha256:{digest}")) {
        headers.insert(DIGEST, digest);
    }
}

fn problem(error: &StateError) -> Answer {
    Answer::json(error.kind().status(), error)
}

#[cfg(test)]
mod tests;
