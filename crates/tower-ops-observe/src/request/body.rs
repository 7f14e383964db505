use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

use super::RequestProgress;
use crate::cause;

/// Replaces a body by one of its own type that is watched. `None` if it is empty.
pub(super) fn watch<B>(
    body: &mut B,
    wrap: impl FnOnce(WatchedBody<B>) -> B,
) -> Option<Arc<RequestProgress>>
where
    B: Body + Default,
{
    if body.is_end_stream() || body.size_hint().exact() == Some(0) {
        return None;
    }
    let progress = Arc::new(RequestProgress::new());
    *body = wrap(WatchedBody {
        inner: std::mem::take(body),
        progress: Arc::clone(&progress),
    });
    Some(progress)
}

/// A request's body that notes its progress. Passes everything unchanged.
pub(super) struct WatchedBody<B> {
    inner: B,
    progress: Arc<RequestProgress>,
}

impl<B> WatchedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.progress.add(data.remaining());
                }
            }
            Some(Err(error)) => {
                if cause::is_of_the_peer(error) {
                    self.progress.break_off();
                }
                self.progress.finish();
            }
            None => {
                // hyper takes a reset without an error for the end, also where more
                // was announced: its hint is what is left of that.
                if self.inner.size_hint().lower() > 0 {
                    self.progress.break_off();
                }
                self.progress.finish();
            }
        }
        Poll::Ready(frame)
    }
}

impl<B> Drop for WatchedBody<B> {
    fn drop(&mut self) {
        self.progress.finish();
    }
}

#[cfg(feature = "axum")]
impl Body for WatchedBody<axum::body::Body> {
    type Data = Bytes;
    // The error within axum's, which `Body::new` puts into one again: axum looks
    // just so deep for a length limit, and answers 400 for 413 otherwise.
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let frame = ready!(self.poll(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::into_inner)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(feature = "tonic")]
impl Body for WatchedBody<tonic::body::Body> {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        self.poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
