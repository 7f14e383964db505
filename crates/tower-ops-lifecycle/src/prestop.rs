//! The endpoint that begins a shutdown.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::time::timeout_at;
use tower_service::Service;

use crate::lifecycle::Lifecycle;
use crate::phase::Phase;
use crate::trigger::Trigger;

impl Lifecycle {
    /// Makes the service for `/prestop`.
    #[must_use]
    pub fn prestop(&self) -> PreStop {
        PreStop {
            lifecycle: self.clone(),
            at_once: false,
        }
    }
}

/// Begins the shutdown when it gets a GET or a POST, on whatever path it is mounted.
/// Made by [`Lifecycle::prestop`].
///
/// Kubernetes' `httpGet` hooks send GET, without a body, to the address of the pod;
/// they may come twice, and old kubelets drop the headers that they were told to send.
/// So keep it off the public port, and do not rely on a token. Anybody who can reach it
/// can stop the process.
///
/// It answers when the pre-drain is over: the kubelet sends SIGTERM after the answer,
/// and then it belongs to a process that knows already, and drains. [`at_once`](Self::at_once) if you do not want that. Either way there is one clock, and no second
/// of the grace period is spent twice. The answer is 200 and
/// `{"phase":"draining","trigger":"prestop"}`; other methods get 405, HEAD as well, and
/// trigger nothing. OPTIONS gets 200 and triggers nothing.
///
/// The listener that has it must stay open until the drain. Always ready to be called.
#[derive(Clone, Debug)]
pub struct PreStop {
    lifecycle: Lifecycle,
    at_once: bool,
}

impl PreStop {
    /// Whether to answer at once, and not when the pre-drain is over. Off by default.
    #[must_use]
    pub const fn at_once(mut self, at_once: bool) -> Self {
        self.at_once = at_once;
        self
    }
}

impl<B> Service<Request<B>> for PreStop {
    type Response = Response<PreStopBody>;
    type Error = Infallible;
    type Future = PreStopFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> PreStopFuture {
        if !matches!(*request.method(), Method::GET | Method::POST) {
            let response = other_method(request.method());
            return PreStopFuture::new(async move { response });
        }
        // Here and not in the future: a kubelet that hangs up has said it all the same.
        self.lifecycle.trigger(Trigger::PreStop);
        let lifecycle = self.lifecycle.clone();
        let at_once = self.at_once;
        PreStopFuture::new(async move {
            if !at_once {
                pre_drained(&lifecycle).await;
            }
            let trigger = lifecycle.triggered_by().map_or("", Trigger::as_str);
            let phase = lifecycle.phase();
            let json = format!("{{\"phase\":\"{phase}\",\"trigger\":\"{trigger}\"}}\n");
            answer(StatusCode::OK, json.into(), false)
        })
    }
}

const SLACK: Duration = Duration::from_secs(1);

async fn pre_drained(lifecycle: &Lifecycle) {
    let Some(first) = lifecycle.shared.moments().first else {
        return;
    };
    let until = lifecycle.shared.config.timeline.pre_drain_until(first.at);
    // Where nobody called `run`, nobody drains; and where somebody did it may take a
    // moment longer.
    let _ = timeout_at(until + SLACK, lifecycle.wait_for(Phase::Draining)).await;
}

/// OPTIONS has the status of GET and nothing of its effect.
fn other_method(method: &Method) -> Response<PreStopBody> {
    let json = b"{\"error\":\"method not allowed\",\"allow\":[\"GET\",\"POST\"]}\n";
    let mut response = if *method == Method::OPTIONS {
        let mut response = answer(StatusCode::OK, Bytes::new(), true);
        response.headers_mut().remove(CONTENT_TYPE);
        response
    } else {
        let is_head = *method == Method::HEAD;
        let json = Bytes::from_static(json);
        answer(StatusCode::METHOD_NOT_ALLOWED, json, is_head)
    };
    let allow = HeaderValue::from_static("GET, POST, OPTIONS");
    response.headers_mut().insert(ALLOW, allow);
    response
}

fn answer(status: StatusCode, json: Bytes, is_head: bool) -> Response<PreStopBody> {
    let length = json.len();
    let content = (!is_head).then_some(json);
    let mut response = Response::new(PreStopBody { content });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/json");
    headers.insert(CONTENT_TYPE, json);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// The answer of [`PreStop`], when it is time for it.
///
/// May be dropped at any time: the shutdown goes on.
pub struct PreStopFuture {
    response: Pin<Box<dyn Future<Output = Response<PreStopBody>> + Send>>,
}

impl PreStopFuture {
    fn new(response: impl Future<Output = Response<PreStopBody>> + Send + 'static) -> Self {
        Self {
            response: Box::pin(response),
        }
    }
}

impl Future for PreStopFuture {
    type Output = Result<Response<PreStopBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.response.as_mut().poll(cx).map(Ok)
    }
}

impl fmt::Debug for PreStopFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreStopFuture").finish_non_exhaustive()
    }
}

/// The body of an answer of [`PreStop`]: a few bytes, all there at once.
#[derive(Clone, Debug, Default)]
pub struct PreStopBody {
    content: Option<Bytes>,
}

impl Body for PreStopBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.content.take().map(|content| Ok(Frame::data(content))))
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.content.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
    }
}
