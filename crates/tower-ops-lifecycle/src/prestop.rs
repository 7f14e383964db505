use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response};
use serde::Serialize;
use tokio::time::timeout_at;
use tower_ops_core::http::{Answer, AnswerBody};
use tower_service::Service;

use crate::lifecycle::Lifecycle;
use crate::phase::{Phase, Trigger};

impl Lifecycle {
    /// Makes the service for `/prestop`.
    #[must_use]
    pub fn prestop(&self) -> PreStop {
        PreStop {
            lifecycle: self.clone(),
            waits: true,
        }
    }
}

/// Begins the shutdown at a GET or a POST, on whatever path it is mounted. Made by
/// [`Lifecycle::prestop`].
///
/// Keep it off the public port: everyone who can reach it can stop the process. Kubernetes'
/// `httpGet` hooks send GET, without a body, to the address of the pod. They may come twice. Old
/// kubelets drop the headers that are configured for the hook, so a token does not protect it.
///
/// It answers when the pre-drain is over. The kubelet sends SIGTERM after the answer, and the
/// process then drains already. [`without_waiting`](Self::without_waiting) it answers immediately. Both ways
/// the grace period has one clock, and no second of it is spent twice.
///
/// The answer is 200 and `{"phase":"draining","trigger":"prestop"}`. OPTIONS gets 200, and all
/// other methods get 405, HEAD included. These trigger nothing.
///
/// The listener that has it must stay open until the drain. The service is always ready.
#[derive(Clone, Debug)]
pub struct PreStop {
    lifecycle: Lifecycle,
    waits: bool,
}

impl PreStop {
    /// Answers at once, and not when the pre-drain is over.
    #[must_use]
    pub const fn without_waiting(mut self) -> Self {
        self.waits = false;
        self
    }
}

const ALLOW: &[&str] = &["GET", "POST"];

#[derive(Serialize)]
struct Triggered {
    phase: &'static str,
    trigger: &'static str,
}

impl<B> Service<Request<B>> for PreStop {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = PreStopFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> PreStopFuture {
        let method = request.method().clone();
        if !matches!(method, Method::GET | Method::POST) {
            let answer = if method == Method::OPTIONS {
                Answer::ok(&()).with_allow(ALLOW)
            } else {
                Answer::method_not_allowed(ALLOW)
            };
            return PreStopFuture::new(async move { answer.into_response(&method) });
        }
        // Here and not in the future: a kubelet that hangs up has asked for it all the same.
        self.lifecycle.trigger(Trigger::PreStop);
        let lifecycle = self.lifecycle.clone();
        let waits = self.waits;
        PreStopFuture::new(async move {
            if waits {
                pre_drained(&lifecycle).await;
            }
            let answer = Answer::ok(&Triggered {
                phase: lifecycle.phase().as_str(),
                trigger: lifecycle.triggered_by().map_or("", Trigger::as_str),
            });
            answer.into_response(&method)
        })
    }
}

const SLACK: Duration = Duration::from_secs(1);

async fn pre_drained(lifecycle: &Lifecycle) {
    let Some(first) = lifecycle.state.moments().first else {
        return;
    };
    let until = lifecycle.state.config.timeline.pre_drain_until(first.at);
    // Without a call of `run` the drain never begins. With one, it may begin a little later.
    let _ = timeout_at(until + SLACK, lifecycle.wait_for(Phase::Draining)).await;
}

/// The future of [`PreStop`].
///
/// # Cancel safety
///
/// Cancel safe: the shutdown goes on if the future is dropped.
pub struct PreStopFuture {
    response: Pin<Box<dyn Future<Output = Response<AnswerBody>> + Send>>,
}

impl PreStopFuture {
    fn new(response: impl Future<Output = Response<AnswerBody>> + Send + 'static) -> Self {
        Self {
            response: Box::pin(response),
        }
    }
}

impl Future for PreStopFuture {
    type Output = Result<Response<AnswerBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.response.as_mut().poll(cx).map(Ok)
    }
}

impl fmt::Debug for PreStopFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreStopFuture").finish_non_exhaustive()
    }
}
