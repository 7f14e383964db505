use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use atomic_waker::AtomicWaker;
use http::header::EXPECT;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::Connection;
use crate::exchange::Exchange;
use crate::io::meter::Flow;

/// The request body on the [`Server`](crate::Server): hyper's, tracked.
#[cfg(feature = "hyper-util")]
pub type RequestBody = TrackedBody<hyper::body::Incoming>;

pin_project! {
    /// A request body. Keeps the exchange in flight until it has ended or is dropped.
    ///
    /// The connection knows when a handler waits for the body. That distinguishes a client that
    /// does not send from a handler that is slow to read.
    ///
    /// Costs one allocation if the request has a body, and nothing if not.
    pub struct TrackedBody<B: Body> {
        // Dropped in this order: a channel's sender knows that nobody reads the body any more
        // before the exchange ends.
        #[pin]
        inner: B,
        half: Option<RequestHalf>,
    }

    impl<B: Body> PinnedDrop for TrackedBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(half) = this.half {
                half.ended = half.http1 && has_arrived(this.inner, half.expects_continue);
            }
        }
    }
}

/// Returns whether a body that was not read to its end has arrived completely. hyper reads one
/// piece ahead, unless the client waits for `100 Continue`.
fn has_arrived<B: Body>(mut body: Pin<&mut B>, expects_continue: bool) -> bool {
    if expects_continue || std::thread::panicking() {
        return false;
    }
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..PIECES_AHEAD {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(_))) if !body.is_end_stream() => {}
            Poll::Ready(_) => return true,
            Poll::Pending => return false,
        }
    }
    false
}

/// Data, trailers and the end.
const PIECES_AHEAD: usize = 3;

impl<B: Body> TrackedBody<B> {
    pub(crate) fn wrap(request: Request<B>, exchange: &mut Exchange) -> Request<Self> {
        let half = if request.body().is_end_stream() {
            None
        } else {
            exchange.share().map(|flow| RequestHalf {
                flow,
                http1: request.version() < Version::HTTP_2,
                expects_continue: request.headers().contains_key(EXPECT),
                wait: None,
                ended: false,
            })
        };
        request.map(|inner| Self { inner, half })
    }
}

impl<B: Body> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(half) = this.half.as_mut() else {
            return this.inner.poll_frame(cx);
        };
        let polled = half.poll(cx, |cx| this.inner.as_mut().poll_frame(cx));
        let ended = match &polled {
            Poll::Pending => false,
            Poll::Ready(Some(Ok(_))) => this.inner.is_end_stream(),
            Poll::Ready(None | Some(Err(_))) => true,
        };
        if ended {
            half.ended = true;
            *this.half = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Body + fmt::Debug> fmt::Debug for TrackedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrackedBody").field(&self.inner).finish()
    }
}

/// The request body's hold on an exchange.
struct RequestHalf {
    flow: Arc<Flow>,
    http1: bool,
    /// The client waits for `100 Continue`, which hyper sends at the first poll.
    expects_continue: bool,
    /// Made when a handler first waits, if there is a stall timeout. On HTTP/1 only: streams of
    /// HTTP/2, such as gRPC's, may be silent for long.
    wait: Option<Arc<Wait>>,
    /// The body has arrived completely.
    ended: bool,
}

/// A handler that waits for a body. The wait ends when the handler is woken, whether it polls then
/// or not.
struct Wait {
    connection: Connection,
    task: AtomicWaker,
}

impl Wake for Wait {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.connection.record.body_wait.end();
        self.task.wake();
    }
}

impl RequestHalf {
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.expects_continue = false;
        let record = &self.flow.connection.record;
        if !self.http1 || record.shared.limits.stall.is_none() {
            return poll(cx);
        }
        let wait = self.wait.get_or_insert_with(|| {
            Arc::new(Wait {
                connection: self.flow.connection.clone(),
                task: AtomicWaker::new(),
            })
        });
        wait.task.register(cx.waker());
        // Before the poll: another thread may wake the handler, and so end the wait, before the
        // poll returns.
        record.body_wait.begin(record.stamp(), record.bytes_read());
        let waker = Waker::from(Arc::clone(wait));
        let polled = poll(&mut Context::from_waker(&waker));
        if polled.is_ready() {
            record.body_wait.end();
        }
        polled
    }
}

impl Drop for RequestHalf {
    fn drop(&mut self) {
        let record = &self.flow.connection.record;
        if self.wait.is_some() {
            record.body_wait.end();
        }
        if self.http1 && !self.ended {
            record.expect_rest_of_body();
        }
    }
}
