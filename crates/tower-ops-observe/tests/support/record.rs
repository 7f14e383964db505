//! An observer that writes down what it is told, and steps to drive an exchange by hand.

#![allow(dead_code, reason = "each file of tests uses its own part of it")]

use std::cell::Cell;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use tower_ops_observe::{Class, Ending, Facts, GrpcCode, KnownMethod, Observe, Outcome, Phase};

thread_local! {
    static SCOPES: Cell<usize> = const { Cell::new(0) };
}

/// How many scopes of recorders the caller runs in.
pub(crate) fn scopes() -> usize {
    SCOPES.get()
}

/// Writes down every exchange; clones share what was written.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    requests: usize,
    heads: usize,
    data: Vec<usize>,
    endings: Vec<Ended>,
}

/// An owned copy of an ending, and of the facts at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The how-manieth request of the recorder it was.
    pub(crate) request: usize,
    pub(crate) outcome: Outcome,
    pub(crate) class: Class,
    pub(crate) phase: Phase,
    pub(crate) status: Option<StatusCode>,
    pub(crate) grpc: Option<GrpcCode>,
    pub(crate) bytes_sent: u64,
    pub(crate) time_to_head: Option<Duration>,
    pub(crate) duration: Duration,
    pub(crate) error: Option<String>,
    pub(crate) method: KnownMethod,
    pub(crate) route: Option<String>,
    pub(crate) is_grpc: bool,
    pub(crate) request_bytes: Option<u64>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn requests(&self) -> usize {
        self.log().requests
    }

    pub(crate) fn heads(&self) -> usize {
        self.log().heads
    }

    pub(crate) fn data(&self) -> Vec<usize> {
        self.log().data.clone()
    }

    /// All that ended, in the order of their ends.
    pub(crate) fn endings(&self) -> Vec<Ended> {
        self.log().endings.clone()
    }

    /// The one exchange that there was; panics unless it began once and ended once.
    #[track_caller]
    pub(crate) fn only(&self) -> Ended {
        assert_eq!(self.requests(), 1, "calls of on_request");
        let endings = self.endings();
        assert_eq!(endings.len(), 1, "calls of on_end: {endings:?}");
        endings[0].clone()
    }

    /// The one exchange that there is on a real server, once it has ended.
    pub(crate) async fn ended(&self) -> Ended {
        for _ in 0..1_000 {
            if !self.endings().is_empty() {
                return self.only();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no exchange has ended; {} began", self.requests());
    }

    /// The route of the one exchange that there was.
    #[track_caller]
    pub(crate) fn route(&self) -> Option<String> {
        self.only().route
    }
}

impl Observe for Recorder {
    type Exchange = usize;

    fn on_request<B>(&self, _: &mut Request<B>, _: &mut Facts) -> usize {
        let mut log = self.log();
        log.requests += 1;
        log.requests
    }

    fn on_response<B>(&self, _: &mut usize, _: &mut Response<B>, _: &mut Facts) {
        self.log().heads += 1;
    }

    fn on_data(&self, _: &mut usize, bytes: usize) {
        self.log().data.push(bytes);
    }

    fn on_end(&self, request: &mut usize, ending: &Ending<'_>, facts: &Facts) {
        self.log().endings.push(Ended {
            request: *request,
            outcome: ending.outcome(),
            class: ending.class(),
            phase: ending.phase(),
            status: ending.status(),
            grpc: ending.grpc_status(),
            bytes_sent: ending.bytes_sent(),
            time_to_head: ending.time_to_head(),
            duration: ending.duration(),
            error: ending.error().map(ToString::to_string),
            method: facts.method(),
            route: facts.route().map(ToString::to_string),
            is_grpc: facts.is_grpc(),
            request_bytes: facts.request_body_size(),
        });
    }

    fn in_scope<R>(&self, _: &mut usize, step: impl FnOnce() -> R) -> R {
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                SCOPES.set(SCOPES.get() - 1);
            }
        }
        SCOPES.set(SCOPES.get() + 1);
        let _leave = Leave;
        step()
    }
}

/// Polls a future once.
pub(crate) fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls a body once.
pub(crate) fn poll_frame<B: Body + Unpin>(
    body: &mut B,
) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// Polls a body until it says that there is no more, has an error, or is pending.
pub(crate) fn drain<B: Body + Unpin>(body: &mut B) -> Result<(), B::Error> {
    while let Poll::Ready(Some(frame)) = poll_frame(body) {
        frame?;
    }
    Ok(())
}
