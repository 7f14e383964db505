use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Limited};
use pin_project_lite::pin_project;

/// Any error.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The body of a request to a mounted service. Reading more than the mount allows fails with
/// [`LengthLimitError`](http_body_util::LengthLimitError).
pub struct AdminRequestBody {
    inner: UnsyncBoxBody<Bytes, BoxError>,
}

impl AdminRequestBody {
    pub(crate) fn new<B>(body: B, limit: Option<usize>) -> Self
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let body = InBytes { body };
        let inner = match limit {
            Some(limit) => Limited::new(body, limit).boxed_unsync(),
            None => body.map_err(Into::into).boxed_unsync(),
        };
        Self { inner }
    }
}

impl Default for AdminRequestBody {
    fn default() -> Self {
        let inner = Empty::new().map_err(|never| match never {});
        Self {
            inner: inner.boxed_unsync(),
        }
    }
}

/// The body of an answer of the operations endpoint.
pub struct AdminBody {
    inner: UnsyncBoxBody<Bytes, BoxError>,
}

impl AdminBody {
    pub(crate) fn new<B>(body: B) -> Self
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let body = InBytes { body };
        Self {
            inner: body.map_err(Into::into).boxed_unsync(),
        }
    }
}

impl Default for AdminBody {
    fn default() -> Self {
        Self::new(Empty::<Bytes>::new())
    }
}

pin_project! {
    /// Converts the data of a body to [`Bytes`], without a copy where they are that. Unlike
    /// `map_frame` it keeps the size, which an answer to HEAD needs.
    struct InBytes<B> {
        #[pin]
        body: B,
    }
}

impl<B: Body> Body for InBytes<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = self.project().body.poll_frame(cx);
        polled.map_ok(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

macro_rules! forward {
    ($name:ident) => {
        impl Body for $name {
            type Data = Bytes;
            type Error = BoxError;

            fn poll_frame(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
                Pin::new(&mut self.inner).poll_frame(cx)
            }

            fn is_end_stream(&self) -> bool {
                self.inner.is_end_stream()
            }

            fn size_hint(&self) -> SizeHint {
                self.inner.size_hint()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

forward!(AdminRequestBody);
forward!(AdminBody);
