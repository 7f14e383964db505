//! The threads that answer everything but probes, beside the thread that answers probes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};

use crate::body::{AdminBody, AdminRequestBody, BoxError};
use crate::mount::BoxedService;

/// How many services run at once: while one is slow, others still run.
const THREADS: usize = 2;

/// How many requests are answered at once. More are refused.
const MAX_ANSWERING: usize = 32;

/// The threads. They end when this is dropped.
pub(crate) struct Workers {
    runtime: Option<Runtime>,
    handle: Worker,
}

/// A handle to the [`Workers`]. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    handle: Handle,
    answering: Arc<Semaphore>,
}

/// The most requests are being answered that can be at once.
pub(crate) struct Busy;

impl Workers {
    pub(crate) fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("admin-worker")
            .enable_all()
            .build()?;
        let handle = Worker {
            handle: runtime.handle().clone(),
            answering: Arc::new(Semaphore::new(MAX_ANSWERING)),
        };
        Ok(Self {
            runtime: Some(runtime),
            handle,
        })
    }

    pub(crate) fn worker(&self) -> Worker {
        self.handle.clone()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A service that blocks must not keep the process.
            runtime.shutdown_background();
        }
    }
}

/// What the service answered, or that it panicked. `None` if the workers have ended.
pub(crate) type Answered = Option<Result<Result<Response<AdminBody>, BoxError>, JoinError>>;

impl Worker {
    /// Calls the service on one of the threads. Dropping the future drops the service's.
    pub(crate) fn call(
        &self,
        service: &BoxedService,
        request: Request<AdminRequestBody>,
    ) -> Result<impl Future<Output = Answered> + Send + use<>, Busy> {
        let Ok(permit) = Arc::clone(&self.answering).try_acquire_owned() else {
            return Err(Busy);
        };
        let (service, handle) = (service.clone(), self.handle.clone());
        let answer = async move {
            let answered = service.call(request).await;
            drop(permit);
            answered.map(|response| response.map(|body| remote(&handle, body)))
        };
        // A set of one: its task ends when it is dropped.
        let mut task = JoinSet::new();
        task.spawn_on(answer, &self.handle);
        Ok(async move { task.join_next().await })
    }
}

/// A body whose frames are made on the threads as well.
fn remote(handle: &Handle, mut body: AdminBody) -> AdminBody {
    if body.is_end_stream() {
        return body;
    }
    let hint = body.size_hint();
    let (sender, frames) = mpsc::channel(1);
    let mut task = JoinSet::new();
    let send = async move {
        while let Some(frame) = body.frame().await {
            let is_last = frame.is_err();
            if sender.send(Some(frame)).await.is_err() || is_last {
                return;
            }
        }
        let _ = sender.send(None).await;
    };
    task.spawn_on(send, handle);
    AdminBody::new(RemoteBody {
        frames,
        hint,
        ended: false,
        _task: task,
    })
}

struct RemoteBody {
    /// `None` is the end. A channel that is closed without it is a panic.
    frames: mpsc::Receiver<Option<Result<Frame<Bytes>, BoxError>>>,
    hint: SizeHint,
    ended: bool,
    _task: JoinSet<()>,
}

impl RemoteBody {
    /// Takes what was sent off the size that is left.
    fn sent(&mut self, bytes: u64) {
        let (lower, upper) = (self.hint.lower(), self.hint.upper());
        let mut hint = SizeHint::new();
        hint.set_lower(lower.saturating_sub(bytes));
        if let Some(upper) = upper {
            hint.set_upper(upper.saturating_sub(bytes));
        }
        self.hint = hint;
    }
}

impl Body for RemoteBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(self.frames.poll_recv(cx)) {
            Some(Some(Ok(frame))) => frame,
            last => {
                self.ended = true;
                return Poll::Ready(match last {
                    Some(end) => end,
                    // The panic was logged when it happened.
                    None => Some(Err("the body of the answer panicked".into())),
                });
            }
        };
        if let Some(data) = frame.data_ref() {
            let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
            self.sent(bytes);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.hint.exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}
