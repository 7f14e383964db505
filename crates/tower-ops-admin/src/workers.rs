//! Where the services of the endpoint's own port do their work: beside the thread that answers
//! probes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::body::{AdminBody, AdminRequestBody, BoxError};
use crate::erased::Erased;

/// How many render at once: one may be slow, and others have their turn.
const THREADS: usize = 2;

/// How many answers are being made at once; more are asked to come again.
const MAKING: usize = 32;

/// Two threads for everything but probes.
pub(crate) struct Workers {
    runtime: Option<Runtime>,
    handle: Worker,
}

/// A handle to the [`Workers`]. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    handle: Handle,
    making: Arc<Semaphore>,
}

/// As many answers are being made as can be.
pub(crate) struct Busy;

impl Workers {
    pub(crate) fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("operations-work")
            .enable_all()
            .build()?;
        let handle = Worker {
            handle: runtime.handle().clone(),
            making: Arc::new(Semaphore::new(MAKING)),
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
            // Whatever blocks in there must not keep the process.
            runtime.shutdown_background();
        }
    }
}

/// What the service answered, or that it panicked.
pub(crate) type Answered = Result<Result<Response<AdminBody>, BoxError>, tokio::task::JoinError>;

impl Worker {
    /// Has the service answer on one of the threads. Dropping the future drops the service's.
    pub(crate) fn serve(
        &self,
        service: &Erased,
        request: Request<AdminRequestBody>,
    ) -> Result<impl Future<Output = Answered> + Send + use<>, Busy> {
        let making = Arc::clone(&self.making).try_acquire_owned();
        let Ok(making) = making else {
            return Err(Busy);
        };
        let (service, handle) = (service.clone(), self.handle.clone());
        let task = self.handle.spawn(async move {
            let answered = service.serve(request).await;
            drop(making);
            answered.map(|response| response.map(|body| carried(&handle, body)))
        });
        Ok(AbortOnDrop(task))
    }
}

/// The body, whose frames are made on the threads as well.
fn carried(handle: &Handle, mut body: AdminBody) -> AdminBody {
    if body.is_end_stream() {
        return body;
    }
    let hint = body.size_hint();
    let (sender, frames) = mpsc::channel(1);
    let task = handle.spawn(async move {
        while let Some(frame) = body.frame().await {
            let is_last = frame.is_err();
            if sender.send(Some(frame)).await.is_err() || is_last {
                return;
            }
        }
        let _ = sender.send(None).await;
    });
    AdminBody::new(Carried {
        frames,
        hint,
        ended: false,
        _task: AbortOnDrop(task),
    })
}

struct Carried {
    frames: mpsc::Receiver<Option<Result<Frame<Bytes>, BoxError>>>,
    hint: SizeHint,
    ended: bool,
    _task: AbortOnDrop<()>,
}

impl Carried {
    /// What is left after so many bytes.
    fn took(&mut self, bytes: u64) {
        let (lower, upper) = (self.hint.lower(), self.hint.upper());
        let mut hint = SizeHint::new();
        hint.set_lower(lower.saturating_sub(bytes));
        if let Some(upper) = upper {
            hint.set_upper(upper.saturating_sub(bytes));
        }
        self.hint = hint;
    }
}

impl Body for Carried {
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
            Some(Some(Err(error))) => {
                self.ended = true;
                return Poll::Ready(Some(Err(error)));
            }
            Some(None) => {
                self.ended = true;
                return Poll::Ready(None);
            }
            // Without a last word: it panicked, which was reported when it happened.
            None => {
                self.ended = true;
                return Poll::Ready(Some(Err("the answer broke off".into())));
            }
        };
        if let Some(data) = frame.data_ref() {
            let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
            self.took(bytes);
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

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
