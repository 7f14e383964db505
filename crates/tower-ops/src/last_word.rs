use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that reports its end one poll late.
///
/// A client may send a request and hang up at once. hyper reads on after a
/// request's head, and if it meets the end there it drops the request before the
/// service was polled: nobody would ever know of it. Told of the end on its next
/// turn, hyper has polled the service by then, and the request is cancelled like
/// any other. Costs nothing until the end, and one more poll there.
pub(crate) struct LastWord<I> {
    inner: I,
    end: End,
}

enum End {
    Ahead,
    /// Seen, to be told on the next poll.
    Seen(io::Result<()>),
    Told,
}

impl<I> LastWord<I> {
    pub(crate) const fn new(inner: I) -> Self {
        Self {
            inner,
            end: End::Ahead,
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for LastWord<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let End::Seen(_) = self.end
            && let End::Seen(end) = std::mem::replace(&mut self.end, End::Told)
        {
            return Poll::Ready(end);
        }
        let before = buf.filled().len();
        let full = buf.remaining() == 0;
        let read = std::task::ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        let ended = read.is_err() || (buf.filled().len() == before && !full);
        if !ended || matches!(self.end, End::Told) {
            return Poll::Ready(read);
        }
        self.end = End::Seen(read);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for LastWord<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn tells_the_end_one_poll_after_the_data() {
        let mut stream = LastWord::new(&b"ab"[..]);
        let mut cx = Context::from_waker(Waker::noop());
        let mut space = [0; 8];
        let mut buf = ReadBuf::new(&mut space);
        let mut poll = || {
            Pin::new(&mut stream)
                .poll_read(&mut cx, &mut buf)
                .is_ready()
        };
        assert!(poll(), "the data");
        assert!(!poll(), "not yet the end");
        assert!(poll(), "the end");
        assert!(poll(), "still the end");
        assert_eq!(buf.filled(), b"ab");
    }

    #[tokio::test]
    async fn reads_what_it_wraps() {
        let mut read = Vec::new();
        let mut stream = LastWord::new(&b"some text"[..]);
        stream.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"some text");
    }
}
