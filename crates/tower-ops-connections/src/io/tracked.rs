mod close;
mod frames;

use std::fmt;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::close::closing::Linger;
use crate::connections::registration::Registration;
use crate::http2::Wire;
use crate::io::sniff::Sniff;
use crate::{CloseReason, Connection};

/// The stream of a connection, tracked and bounded. Made by
/// [`Connections::accept`](crate::Connections::accept); give it to hyper.
///
/// Costs a few plain stores for each read and write. On HTTP/2 the headers of the frames are
/// followed as well, in both directions. The connection ends when this is dropped. hyper passes it
/// on at an upgrade, so a WebSocket is tracked to its end.
///
/// Reports the end of the client's side one poll late. A client may send a request and close at
/// once. hyper reads on after the head of a request, and if it finds the end there, it drops the
/// request before the service was polled, and no observer would know of it.
pub struct Tracked<I> {
    inner: I,
    registration: Registration,
    spoken: Spoken,
    read_end: ReadEnd,
    linger: Linger,
    /// The server had one more turn to write before it reads the end.
    had_turn: bool,
}

/// What the bytes mean.
enum Spoken {
    /// Too few bytes have come. A server with prior knowledge of HTTP/2 sends its SETTINGS before it
    /// has read a byte.
    Unknown {
        sniff: Sniff,
        wire: Option<Box<Wire>>,
    },
    Http2(Box<Wire>),
    /// HTTP/1, an upgraded connection, or TLS that this crate does not terminate.
    Bytes,
}

/// The end of the peer's side.
enum ReadEnd {
    Ahead,
    /// To be reported at the next poll.
    Pending(io::Result<()>),
    Reported,
}

impl<I> Tracked<I> {
    pub(crate) fn new(inner: I, registration: Registration) -> Self {
        Self {
            inner,
            registration,
            spoken: Spoken::Unknown {
                sniff: Sniff::default(),
                wire: None,
            },
            read_end: ReadEnd::Ahead,
            linger: Linger::default(),
            had_turn: false,
        }
    }

    /// Returns the connection.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.registration.connection
    }

    /// Returns the inner stream.
    #[must_use]
    pub const fn get_ref(&self) -> &I {
        &self.inner
    }

    /// Leaves the close to the task that owns the connection's future, which can have hyper close it
    /// in order.
    #[cfg(feature = "hyper-util")]
    pub(crate) fn managed(self) -> Self {
        self.registration.connection.record.set_managed();
        self
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tracked<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match &this.read_end {
            ReadEnd::Ahead => {}
            // A reader that polls again gets the end, and not the error twice.
            ReadEnd::Reported => return Poll::Ready(Ok(())),
            ReadEnd::Pending(_) => {
                let end = std::mem::replace(&mut this.read_end, ReadEnd::Reported);
                if let ReadEnd::Pending(end) = end {
                    return Poll::Ready(end);
                }
            }
        }
        let mut staged = false;
        if let Spoken::Http2(wire) = &this.spoken {
            staged = wire.is_staged();
            let look = &this.registration.connection.record.http2.look;
            if look.load(Ordering::Relaxed) {
                look.store(false, Ordering::Relaxed);
                this.look_at_streams();
                staged = this.is_staged();
            }
        }
        let open = this.registration.connection.record.state.load().is_open();
        // Even if there is more to read: a peer could send for ever.
        if !open && let Poll::Ready(end) = this.poll_forced() {
            return Poll::Ready(end);
        }
        if this.holds_back() {
            this.registration
                .connection
                .record
                .reader
                .register(cx.waker());
            return this.poll_close(cx);
        }
        let before = buf.filled().len();
        let full = buf.remaining() == 0;
        let polled = if staged && !full {
            this.poll_staged(cx, buf)
        } else {
            Pin::new(&mut this.inner).poll_read(cx, buf)
        };
        match polled {
            Poll::Pending => {
                // Before the state is read, or a close in between would wake nobody.
                this.registration
                    .connection
                    .record
                    .reader
                    .register(cx.waker());
                this.registration.connection.record.note_no_read();
                this.poll_close(cx)
            }
            Poll::Ready(Ok(())) if buf.filled().len() > before || full => {
                // Bytes that came before the close was committed may be a request, so they revoke a
                // close for idleness.
                if !open {
                    this.registration.connection.record.state.revoke();
                }
                if !staged {
                    this.note_filled(buf, before);
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(end) => {
                match &end {
                    Ok(()) => this.registration.end = CloseReason::ClientClosed,
                    // TLS without close_notify, which many clients omit.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        this.registration.end = CloseReason::ClientClosed;
                    }
                    Err(_) => this.registration.fail(),
                }
                this.read_end = ReadEnd::Pending(end);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Tracked<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.before_write(cx))?;
        let written = Pin::new(&mut this.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = &written {
            this.follow(&buf[..*bytes]);
        }
        this.after_write(cx, &written);
        this.or_forced(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.registration.connection.record.state.load().is_open()
            && let Some(error) = this.forced()
        {
            return Poll::Ready(Err(error));
        }
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        if flushed.is_pending() {
            this.note_blocked();
        } else {
            this.registration.connection.record.note_not_blocked();
            this.registration.connection.record.note_flushed();
        }
        this.or_forced(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.or_forced(cx, shut)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.before_write(cx))?;
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(bytes)) = &written {
            let mut rest = *bytes;
            let bufs = if this.follows() { bufs } else { &[] };
            for buf in bufs {
                let part = rest.min(buf.len());
                this.follow(&buf[..part]);
                rest -= part;
            }
        }
        this.after_write(cx, &written);
        this.or_forced(cx, written)
    }
}

impl<I> AsRef<Connection> for Tracked<I> {
    fn as_ref(&self) -> &Connection {
        self.connection()
    }
}

impl<I> fmt::Debug for Tracked<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracked")
            .field("connection", &self.registration.connection)
            .finish_non_exhaustive()
    }
}
