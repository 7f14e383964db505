//! The data of responses, which is charged until the transport has written it.

use std::fmt;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::exchange::service::ResponseBody;
use crate::io::meter::Charge;

/// The data of a [`ResponseBody`]. On HTTP/2 it counts against its stream, and keeps the exchange in
/// flight, until it is dropped.
#[derive(Debug)]
pub struct MeteredData<D> {
    data: D,
    charge: Option<Charge>,
}

impl<D> MeteredData<D> {
    pub(crate) const fn new(data: D, charge: Option<Charge>) -> Self {
        Self { data, charge }
    }

    /// Returns the inner data, which no longer counts.
    pub fn into_inner(self) -> D {
        self.data
    }
}

impl MeteredData<Bytes> {
    /// Converts it to [`Bytes`]. Allocates if it counts, which it does on HTTP/2.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        if self.charge.is_none() {
            return self.data;
        }
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for MeteredData<Bytes> {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl<D: Buf> Buf for MeteredData<D> {
    #[inline]
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    #[inline]
    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.data.chunks_vectored(slices)
    }

    #[inline]
    fn advance(&mut self, count: usize) {
        self.data.advance(count);
    }

    #[inline]
    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.data.copy_to_bytes(length)
    }
}

pin_project! {
    /// A [`ResponseBody`] whose data is [`Bytes`], for axum and tonic.
    pub struct BytesBody<B> {
        #[pin]
        inner: ResponseBody<B>,
    }
}

impl<B> BytesBody<B> {
    pub(crate) const fn new(inner: ResponseBody<B>) -> Self {
        Self { inner }
    }
}

impl<B: Default> Default for BytesBody<B> {
    fn default() -> Self {
        Self::new(ResponseBody::default())
    }
}

impl<B: Body<Data = Bytes>> Body for BytesBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = self.project().inner.poll_frame(cx);
        polled.map(|frame| frame.map(|frame| Ok(frame?.map_data(MeteredData::into_bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: fmt::Debug> fmt::Debug for BytesBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BytesBody").field(&self.inner).finish()
    }
}
