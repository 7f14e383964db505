use std::fmt;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::closing::{Linger, Next};
use crate::goaway::{Frames, GOAWAY};
use crate::limits::Http2Close;
use crate::listed::Listed;
use crate::protocol::Sniff;
use crate::{CloseReason, Connection, Protocol};

/// The I/O of a connection, watched and bounded. Made by
/// [`Connections::accept`](crate::Connections::accept); give it to hyper.
///
/// Costs a few plain stores for each read and write. The connection ends when this
/// is dropped: hyper hands it on at an upgrade, so that also a WebSocket is seen to
/// its end.
///
/// A client's hang-up is told one poll late. A client may send a request and hang
/// up at once; hyper reads on after a request's head, and if it meets the end there
/// it drops the request before the service was polled, and nobody would ever know
/// of it.
pub struct Tracked<I> {
    inner: I,
    listed: Listed,
    sniff: Option<Sniff>,
    ending: Ending,
    goodbye: Goodbye,
    linger: Linger,
}

/// How the peer's side came to its end.
enum Ending {
    Ahead,
    /// Seen, to be told on the next poll.
    Seen(io::Result<()>),
    Told,
}

/// How far HTTP/2's goodbye is, where it is ours to say.
struct Goodbye {
    frames: Frames,
    /// How much of GOAWAY is out.
    sent: u8,
}

impl<I> Tracked<I> {
    pub(crate) fn new(inner: I, listed: Listed) -> Self {
        Self {
            inner,
            listed,
            sniff: Some(Sniff::default()),
            ending: Ending::Ahead,
            goodbye: Goodbye {
                frames: Frames::default(),
                sent: 0,
            },
            linger: Linger::default(),
        }
    }

    /// The connection.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.listed.connection
    }

    /// What is wrapped.
    #[must_use]
    pub const fn get_ref(&self) -> &I {
        &self.inner
    }

    /// Leaves the closing to whoever owns the future of the connection, and can
    /// have hyper close it in order.
    #[cfg(feature = "hyper-util")]
    pub(crate) fn driven(self) -> Self {
        self.listed.connection.record.set_driven();
        self
    }

    /// Whether closing is up to this wrapper.
    fn closes_itself(&self) -> bool {
        let record = &self.listed.connection.record;
        !record.is_driven() || record.protocol() == Protocol::Upgraded
    }

    #[inline]
    fn note_read(&mut self, bytes: &[u8]) {
        if let Some(sniff) = &mut self.sniff
            && let Some(protocol) = sniff.tell(bytes)
        {
            self.sniff = None;
            self.listed.connection.record.add_read(bytes.len());
            self.listed.connection.set_protocol(protocol);
            return;
        }
        self.listed.connection.record.add_read(bytes.len());
    }

    #[inline]
    fn note_written(&mut self, bytes: usize) {
        let record = &self.listed.connection.record;
        record.add_written(bytes);
        if record.is_write_blocked() {
            record.writing.go_on();
        }
    }

    fn note_blocked(&self) {
        let record = &self.listed.connection.record;
        if !record.is_write_blocked() {
            record.writing.wait(record.stamp(), record.bytes_written());
        }
    }

    /// Follows the frames that go out, as long as it is not known that they are
    /// none, or none of ours to follow.
    #[inline]
    fn follow(&mut self, bytes: &[u8]) {
        if self.follows() {
            self.goodbye.frames.wrote(bytes);
        }
    }

    #[inline]
    fn follows(&self) -> bool {
        let record = &self.listed.connection.record;
        // A server that speaks nothing but HTTP/2 sends its settings before it has
        // read a byte.
        let maybe_http2 = matches!(record.protocol(), Protocol::Unknown | Protocol::Http2);
        maybe_http2 && !record.is_driven()
    }

    /// The error that whoever reads or writes gets once the time is over.
    fn forced(&self) -> Option<io::Error> {
        let seen = self.listed.connection.record.state.seen();
        seen.is_forced().then(|| {
            let reason = seen.reason().unwrap_or(CloseReason::Manual);
            io::Error::new(io::ErrorKind::ConnectionAborted, reason.as_str())
        })
    }

    /// How reading ends once the time is over: with an error, which also ends
    /// handlers, unless there are none. Then the end of the stream is enough.
    fn poll_forced(&self) -> Poll<io::Result<()>> {
        let Some(error) = self.forced() else {
            return Poll::Pending;
        };
        let seen = self.listed.connection.record.state.seen();
        let ends_well = self.closes_itself() && !seen.is_busy();
        let stalled = seen.reason() == Some(CloseReason::Stalled);
        Poll::Ready(if ends_well && !stalled {
            Ok(())
        } else {
            Err(error)
        })
    }
}

impl<I: AsyncWrite + Unpin> Tracked<I> {
    /// Writes what is left of the GOAWAY frame that was begun, or is due.
    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = usize::from(self.goodbye.sent);
        if sent == GOAWAY.len() || (sent == 0 && !self.goodbye_is_due()) {
            return Poll::Ready(Ok(()));
        }
        while usize::from(self.goodbye.sent) < GOAWAY.len() {
            let rest = &GOAWAY[usize::from(self.goodbye.sent)..];
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.goodbye.sent += u8::try_from(written).unwrap_or(u8::MAX);
            self.listed.connection.record.add_written(written);
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn goodbye_is_due(&self) -> bool {
        let record = &self.listed.connection.record;
        record.protocol() == Protocol::Http2
            && self.closes_itself()
            && record.shared.limits.http2_close == Http2Close::GoAway
            && self.goodbye.frames.is_between()
            && !record.state.seen().is_open()
            && record.state.commit()
    }

    /// Whether reading ends here because the connection is being closed.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let seen = self.listed.connection.record.state.seen();
        if seen.is_open() {
            self.linger.stop();
            return Poll::Pending;
        }
        if seen.is_forced() {
            return self.poll_forced();
        }
        if !self.closes_itself() {
            return Poll::Pending;
        }
        let record = &self.listed.connection.record;
        match record.protocol() {
            Protocol::Http2 if record.shared.limits.http2_close == Http2Close::GoAway => {
                // The peer may be about to send a request: the end comes with the
                // grace. A goodbye that cannot be said does not matter: it is over.
                let _ = self.poll_goodbye(cx);
                Poll::Pending
            }
            _ => {
                match record.next_of_close(false) {
                    Next::Close => {}
                    Next::Linger(limit) => ready!(self.linger.poll(limit, cx)),
                    Next::Wait => {
                        self.linger.stop();
                        return Poll::Pending;
                    }
                }
                if self.listed.connection.record.state.commit() {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                }
            }
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tracked<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match &this.ending {
            Ending::Ahead => {}
            // A reader that asks again gets the end, and not the error twice.
            Ending::Told => return Poll::Ready(Ok(())),
            Ending::Seen(_) => {
                if let Ending::Seen(end) = std::mem::replace(&mut this.ending, Ending::Told) {
                    return Poll::Ready(end);
                }
            }
        }
        let open = this.listed.connection.record.state.seen().is_open();
        // Also if there is more to read: a peer could go on for ever.
        if !open && let Poll::Ready(end) = this.poll_forced() {
            return Poll::Ready(end);
        }
        let before = buf.filled().len();
        let full = buf.remaining() == 0;
        match Pin::new(&mut this.inner).poll_read(cx, buf) {
            Poll::Pending => {
                // Registered before the state is looked at, or a close that comes
                // in between would wake nobody.
                this.listed.connection.record.reader.register(cx.waker());
                this.poll_close(cx)
            }
            Poll::Ready(Ok(())) if buf.filled().len() > before || full => {
                // Bytes that came before the close was carried out may be a
                // request: an idle close is taken back.
                if !open {
                    this.listed.connection.record.state.revoke();
                }
                this.note_read(&buf.filled()[before..]);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(end) => {
                this.listed.end = match &end {
                    Ok(()) => CloseReason::ClientClosed,
                    // TLS without a goodbye; many clients are in a hurry.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        CloseReason::ClientClosed
                    }
                    Err(_) => CloseReason::Error,
                };
                this.ending = Ending::Seen(end);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl<I: AsyncWrite + Unpin> Tracked<I> {
    #[inline]
    fn before_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let open = self.listed.connection.record.state.seen().is_open();
        if open && self.goodbye.sent == 0 {
            return Poll::Ready(Ok(()));
        }
        self.close_write(cx)
    }

    #[cold]
    fn close_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.forced() {
            return Poll::Ready(Err(error));
        }
        let goodbye = self.poll_goodbye(cx);
        if goodbye.is_pending() {
            self.note_blocked();
            // The reaper has to be able to end the wait.
            self.listed.connection.record.writer.register(cx.waker());
        }
        goodbye
    }

    #[inline]
    fn after_write(&mut self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(bytes)) => self.note_written(*bytes),
            Poll::Ready(Err(_)) => {
                if self.listed.end == CloseReason::ServerClosed {
                    self.listed.end = CloseReason::Error;
                }
            }
            Poll::Pending => self.note_blocked(),
        }
    }

    /// What is left waiting here has to be ended by a force: that is looked at once
    /// more when it can wake, or one that came in between would be missed.
    fn or_forced<T>(&self, cx: &Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_pending() {
            self.listed.connection.record.writer.register(cx.waker());
            if let Some(error) = self.forced() {
                return Poll::Ready(Err(error));
            }
        }
        polled
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
        this.after_write(&written);
        this.or_forced(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.listed.connection.record.state.seen().is_open()
            && let Some(error) = this.forced()
        {
            return Poll::Ready(Err(error));
        }
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        if flushed.is_pending() {
            this.note_blocked();
        } else if this.listed.connection.record.is_write_blocked() {
            this.listed.connection.record.writing.go_on();
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
        this.after_write(&written);
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
            .field("connection", &self.listed.connection)
            .finish_non_exhaustive()
    }
}
