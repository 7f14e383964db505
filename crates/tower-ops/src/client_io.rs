use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A client's stream, with two things that hyper does not see to.
///
/// Its end is reported one poll late. A client may send a request and hang up at
/// once. hyper reads on after a request's head, and if it meets the end there it
/// drops the request before the service was polled: nobody would ever know of
/// it. Told of the end on its next turn, hyper has polled the service by then,
/// and the request is cancelled like any other. Costs one more poll, at the end.
///
/// Its beginning has a limit. hyper-util waits without one for the bytes that
/// tell HTTP/1.1 from HTTP/2; only after that do hyper's own limits hold.
pub(crate) struct ClientIo<I> {
    inner: I,
    /// `None` once the protocol is known.
    hello: Option<Hello>,
    end: End,
}

struct Hello {
    deadline: Pin<Box<Sleep>>,
    /// How much of the preface has come.
    matched: usize,
}

/// What an HTTP/2 client sends first (RFC 9113, section 3.4), and no HTTP/1.1
/// request begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum End {
    Ahead,
    /// Seen, to be told on the next poll.
    Seen(io::Result<()>),
    Told,
}

impl<I> ClientIo<I> {
    pub(crate) fn new(inner: I, first_bytes: Duration) -> Self {
        Self {
            inner,
            hello: Some(Hello {
                deadline: Box::pin(sleep(first_bytes)),
                matched: 0,
            }),
            end: End::Ahead,
        }
    }
}

impl Hello {
    /// Whether these bytes leave it open which protocol the client speaks.
    fn goes_on(&mut self, bytes: &[u8]) -> bool {
        let rest = &PREFACE[self.matched..];
        self.matched += bytes.len();
        !bytes.is_empty() && bytes.len() < rest.len() && rest.starts_with(bytes)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for ClientIo<I> {
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
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Some(hello) = &mut self.hello {
            if read.is_pending() {
                ready!(hello.deadline.as_mut().poll(cx));
                self.hello = None;
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            if !hello.goes_on(&buf.filled()[before..]) {
                self.hello = None;
            }
        }
        let read = ready!(read);
        let ended = read.is_err() || (buf.filled().len() == before && !full);
        if !ended || matches!(self.end, End::Told) {
            return Poll::Ready(read);
        }
        self.end = End::Seen(read);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for ClientIo<I> {
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

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn tells_the_end_one_poll_after_the_data() {
        let mut stream = ClientIo::new(&b"ab"[..], LIMIT);
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
        let mut stream = ClientIo::new(&b"some text"[..], LIMIT);
        stream.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"some text");
    }

    /// When reading fails after a client has sent this, byte by byte.
    async fn times_out_after(sent: &[u8]) -> Option<Duration> {
        let (mut client, server) = duplex(64);
        let mut stream = ClientIo::new(server, LIMIT);
        let start = Instant::now();
        let mut byte = [0];
        for sent in sent {
            client.write_all(&[*sent]).await.unwrap();
            stream.read_exact(&mut byte).await.unwrap();
        }
        tokio::select! {
            read = stream.read(&mut byte) => {
                assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
                Some(start.elapsed())
            }
            () = sleep(10 * LIMIT) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waits_for_a_protocol_only_so_long() {
        assert_eq!(times_out_after(b"").await, Some(LIMIT));
        assert_eq!(times_out_after(b"P").await, Some(LIMIT));
        assert_eq!(times_out_after(&PREFACE[..23]).await, Some(LIMIT));
        assert_eq!(times_out_after(PREFACE).await, None);
        assert_eq!(times_out_after(b"G").await, None);
        assert_eq!(times_out_after(b"POST").await, None);
    }
}
