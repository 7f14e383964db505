//! What runs in the scope of an exchange.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use tower::{Layer, Service, service_fn};
use tower_ops_observe::ObserveLayer;
use tower_ops_testing::ScriptedBody;

#[path = "support/record.rs"]
mod record;
use record::{Recorder, poll, poll_frame};

type Answer = Result<Response<ScriptedBody>, Infallible>;

/// Notes in how many scopes it is polled and dropped.
struct Scoped {
    seen: Arc<Mutex<Vec<(&'static str, usize)>>>,
}

impl Scoped {
    fn note(&self, what: &'static str) {
        self.seen.lock().unwrap().push((what, record::scopes()));
    }
}

impl Future for Scoped {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Answer> {
        self.note("poll");
        Poll::Pending
    }
}

impl Body for Scoped {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.note("poll_frame");
        Poll::Pending
    }
}

impl Drop for Scoped {
    fn drop(&mut self) {
        self.note("drop");
    }
}

#[test]
fn call_polls_and_drops_run_in_scope() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let layer = ObserveLayer::new((Recorder::new(), Recorder::new()));
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        let future = Scoped {
            seen: Arc::clone(&seen),
        };
        future.note("call");
        future
    }));
    let mut future = service.call(Request::new(()));
    assert!(poll(&mut future).is_pending());
    assert_eq!(record::scopes(), 0);
    drop(future);

    let mut service = layer.layer(service_fn(|_: Request<()>| {
        let body = Scoped {
            seen: Arc::clone(&seen),
        };
        ready(Ok::<_, Infallible>(Response::new(body)))
    }));
    let Poll::Ready(Ok(response)) = poll(&mut service.call(Request::new(()))) else {
        panic!("a response");
    };
    let mut body = response.into_body();
    assert!(poll_frame(&mut body).is_pending());
    assert_eq!(record::scopes(), 0);
    drop(body);
    assert_eq!(
        *seen.lock().unwrap(),
        [
            ("call", 2),
            ("poll", 2),
            ("drop", 2),
            ("poll_frame", 2),
            ("drop", 2)
        ]
    );
}
