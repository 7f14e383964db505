use std::convert::Infallible;
use std::fmt;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Buf;
use http::{Method, Request, Response, Uri};
use http_body::Body;
use tower_service::Service;

use crate::ask::{self, admit};
use crate::body::StateBody;
use crate::exchange::Exchange;
use crate::shared::Shared;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The service for `/state`. Made by [`State::service`](crate::State::service).
///
/// | request | answer |
/// |---|---|
/// | `GET /state` | the envelope; gzip where the client accepts it |
/// | `GET /state?fence=1` | the same, and from then on this instance writes no more |
/// | `HEAD /state` | its length and digest |
/// | `POST /state` | restores the envelope in the body |
/// | `POST /state?dry_run=1` | says what would change |
/// | `POST /state?resume=1` | opens the fence again |
/// | `OPTIONS /state` | the status that GET would have, without any effect |
///
/// `force=1`, `allow_missing=1` and `allow_unknown=1` are those of
/// [`Restore`](crate::Restore), and `If-Match: "7"` is its
/// [`expected_generation`](crate::Restore::expected_generation). Answers but the
/// envelope are JSON; successful ones have the headers `x-tower-ops-state-generation`
/// and `x-tower-ops-state-digest`.
///
/// | status | |
/// |---|---|
/// | 200 | it is done |
/// | 400 | no envelope, or a broken one; a wrong parameter |
/// | 401 | no token, or a wrong one |
/// | 404 | no token is configured |
/// | 405 | another method |
/// | 409 | another capture or restore is running; the state was handed over; not the time to restore |
/// | 412 | not the generation of `If-Match`; an older one than here |
/// | 413 | larger than allowed, either way |
/// | 415 | another content type or encoding |
/// | 422 | another application; a participant refused, or did not commit |
/// | 500 | a participant did not commit, and the rollback failed too |
/// | 503 | no participant |
/// | 504 | a participant, or the client's body, took too long |
///
/// It answers whatever the path: mount it at `/state`. Always ready to be called. The
/// first frame of a capture comes when all of it was serialised once, so that its
/// status, length and digest are right.
#[derive(Clone)]
pub struct StateService {
    shared: Arc<Shared>,
}

impl StateService {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Returns whether a request would change something: it restores, opens the fence or closes
    /// it. For whoever mounts the service and writes down what is changed.
    #[must_use]
    pub fn changes(method: &Method, uri: &Uri) -> bool {
        ask::changes(method, uri)
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
    type Future = StateFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> StateFuture {
        match admit(&self.shared, &request) {
            Ok((ask, record)) => {
                let used = record.token();
                let exchange = Exchange::new(Arc::clone(&self.shared), ask, record);
                let answering = coded(exchange, request);
                StateFuture::new(async move {
                    let mut response = answering.await;
                    if let Some(used) = used {
                        response.extensions_mut().insert(used);
                    }
                    response
                })
            }
            Err(answer) => {
                let response = answer.into_response(request.method());
                StateFuture::new(ready(response.map(StateBody::new)))
            }
        }
    }
}

impl fmt::Debug for StateService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateService")
            .field("application", &self.shared.application)
            .finish_non_exhaustive()
    }
}

/// Compresses what goes. gzip alone, as for what comes: its window is 32 KiB, while those of
/// others let a few bytes from a client claim megabytes here.
#[cfg(feature = "compression")]
fn coded<B>(
    exchange: Exchange,
    mut request: Request<B>,
) -> impl Future<Output = Response<StateBody>> + Send + 'static
where
    B: Body + Send + 'static,
    B::Data: Buf + Send,
    B::Error: Into<BoxError> + Send,
{
    use http::header::ACCEPT_ENCODING;
    use tower_http::compression::Compression;
    use tower_http::compression::predicate::SizeAbove;

    // The length that HEAD tells is that of the envelope.
    if *request.method() == Method::HEAD {
        request.headers_mut().remove(ACCEPT_ENCODING);
    }
    let mut service = Compression::new(exchange).compress_when(SizeAbove::new(1024));
    let response = service.call(request);
    async {
        match response.await {
            Ok(response) => response.map(StateBody::new),
            Err(never) => match never {},
        }
    }
}

#[cfg(not(feature = "compression"))]
fn coded<B>(
    mut exchange: Exchange,
    request: Request<B>,
) -> impl Future<Output = Response<StateBody>> + Send + 'static
where
    B: Body + Send + 'static,
    B::Data: Buf + Send,
    B::Error: Into<BoxError> + Send,
{
    let response = exchange.call(request);
    async {
        match response.await {
            Ok(response) => response.map(StateBody::new),
            Err(never) => match never {},
        }
    }
}

/// The response of a [`StateService`].
///
/// May be dropped at any time: a capture stops, and so does a restore unless the first
/// participant commits already; then it goes on to its end without the client.
pub struct StateFuture {
    response: Pin<Box<dyn Future<Output = Response<StateBody>> + Send>>,
}

impl StateFuture {
    fn new(response: impl Future<Output = Response<StateBody>> + Send + 'static) -> Self {
        Self {
            response: Box::pin(response),
        }
    }
}

impl Future for StateFuture {
    type Output = Result<Response<StateBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.response.as_mut().poll(cx).map(Ok)
    }
}

impl fmt::Debug for StateFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateFuture").finish_non_exhaustive()
    }
}
