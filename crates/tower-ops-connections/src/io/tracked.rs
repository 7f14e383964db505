use std::fmt;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::micros;
use crate::close::closing::{CloseStep, Linger};
use crate::close::limits::Http2Close;
use crate::connections::registration::Registration;
use crate::http2::{Stalled, Wire};
use crate::protocol::{Sniff, Sniffed};
use crate::{CloseReason, Connection, Protocol};

/// The I/O of a connection, watched and bounded. Made by
/// [`Connections::accept`](crate::Connections::accept); give it to hyper.
///
/// Costs a few plain stores for each read and write; on HTTP/2 also the headers of
/// the frames are followed, in both directions. The connection ends when this is
/// dropped: hyper hands it on at an upgrade, so that also a WebSocket is state to its
/// end.
///
/// A client's hang-up is told one poll late. A client may send a request and hang
/// up at once; hyper reads on after a request's head, and if it meets the end there
/// it drops the request before the service was polled, and nobody would ever know
/// of it.
pub struct Tracked<I> {
    inner: I,
    registration: Registration,
    spoken: Spoken,
    ending: Ending,
    linger: Linger,
    /// The server had one more turn to write before it reads the end.
    had_turn: bool,
}

/// What the bytes mean.
enum Spoken {
    /// Not enough has come to know. A server that speaks nothing but HTTP/2 sends
    /// its SETTINGS before it has read a byte.
    Unknown {
        sniff: Sniff,
        wire: Option<Box<Wire>>,
    },
    Http2(Box<Wire>),
    /// HTTP/1, what came after an upgrade, or TLS that is not ours.
    Bytes,
}

/// How the peer's side came to its end.
enum Ending {
    Ahead,
    /// Seen, to be told on the next poll.
    Seen(io::Result<()>),
    Told,
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
            ending: Ending::Ahead,
            linger: Linger::default(),
            had_turn: false,
        }
    }

    /// The connection.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.registration.connection
    }

    /// What is wrapped.
    #[must_use]
    pub const fn get_ref(&self) -> &I {
        &self.inner
    }

    /// Leaves the closing to whoever owns the future of the connection, and can
    /// have hyper close it in order.
    #[cfg(feature = "hyper-util")]
    pub(crate) fn managed(self) -> Self {
        self.registration.connection.record.set_managed();
        self
    }

    fn is_staged(&self) -> bool {
        matches!(&self.spoken, Spoken::Http2(wire) if wire.is_staged())
    }

    /// Whether to read no more until the client has read. What goes into a tunnel on
    /// HTTP/2 is held by hyper, and out of the meter's reach: a client that sends and
    /// never reads would have its echoes held without a bound. On HTTP/1 a tunnel
    /// that cannot write stops to read as well. The task that writes is this one, and
    /// comes back when it can.
    fn holds_back(&self) -> bool {
        let record = &self.registration.connection.record;
        matches!(self.spoken, Spoken::Http2(_))
            && record.http2.has_tunnels()
            && record.is_write_blocked()
    }

    /// Whether closing is up to this wrapper.
    fn closes_itself(&self) -> bool {
        let record = &self.registration.connection.record;
        !record.is_managed() || record.protocol() == Protocol::Upgraded
    }

    /// Whether GOAWAY is ours to send.
    fn sends_goaway(&self) -> bool {
        let record = &self.registration.connection.record;
        let abrupt = record
            .state
            .load()
            .reason()
            .is_some_and(CloseReason::is_abrupt);
        matches!(self.spoken, Spoken::Http2(_))
            && self.closes_itself()
            && !abrupt
            && record.shared.limits.http2_close == Http2Close::GoAway
    }

    fn has_out(&self) -> bool {
        matches!(&self.spoken, Spoken::Http2(wire) if wire.has_out())
    }

    /// From the number of bytes that is returned on, what was read has to be staged.
    #[inline]
    fn note_read(&mut self, bytes: &[u8]) -> usize {
        let record = &self.registration.connection.record;
        record.add_read(bytes);
        match &mut self.spoken {
            Spoken::Bytes => bytes.len(),
            Spoken::Http2(wire) => {
                let noted = wire.read(bytes, record.stamp());
                self.registration.connection.note_wire(wire);
                noted
            }
            Spoken::Unknown { .. } => self.detect(bytes),
        }
    }

    fn detect(&mut self, bytes: &[u8]) -> usize {
        let Spoken::Unknown { sniff, wire } = &mut self.spoken else {
            return bytes.len();
        };
        let connection = &self.registration.connection;
        match sniff.detect(bytes) {
            None => bytes.len(),
            Some(Sniffed::Http1) => {
                self.spoken = Spoken::Bytes;
                connection.set_protocol(Protocol::Http1);
                bytes.len()
            }
            Some(Sniffed::Tls) => {
                self.spoken = Spoken::Bytes;
                connection.record.set_opaque();
                bytes.len()
            }
            Some(Sniffed::Http2(from)) => {
                let record = &connection.record;
                let mut wire = wire.take().unwrap_or_else(|| new_wire(connection));
                // Half of the preface may have been there for long.
                let begun = record.head_begun().map_or_else(|| record.stamp(), micros);
                wire.begin(begun);
                record.set_followed();
                connection.set_protocol(Protocol::Http2);
                let noted = wire.read(&bytes[from..], record.stamp());
                self.registration.connection.note_wire(&wire);
                self.spoken = Spoken::Http2(wire);
                from + noted
            }
        }
    }

    #[inline]
    fn note_written(&mut self, bytes: usize) {
        let record = &self.registration.connection.record;
        record.add_written(bytes);
        record.note_not_blocked();
    }

    fn note_blocked(&self) {
        self.registration.connection.record.note_blocked();
    }

    #[inline]
    fn follow(&mut self, bytes: &[u8]) {
        let connection = &self.registration.connection;
        match &mut self.spoken {
            Spoken::Bytes => {}
            Spoken::Http2(wire) => wire.wrote(bytes, connection.record.stamp()),
            Spoken::Unknown { wire, .. } => {
                let wire = wire.get_or_insert_with(|| new_wire(connection));
                wire.wrote(bytes, connection.record.stamp());
            }
        }
    }

    const fn follows(&self) -> bool {
        !matches!(self.spoken, Spoken::Bytes)
    }

    /// Publishes what the frames show that went out.
    #[inline]
    fn note_frames(&mut self, cx: &Context<'_>) {
        let record = &self.registration.connection.record;
        let Spoken::Http2(wire) = &self.spoken else {
            return;
        };
        self.registration.connection.note_wire(wire);
        let goodbye = !record.state.load().is_open() && wire.can_send_goaway();
        let due = wire.has_out() || (goodbye && self.sends_goaway());
        if due && !wire.is_half_written() {
            // Nobody writes again because of a frame that is ours.
            cx.waker().wake_by_ref();
        }
        if wire.has_failed() && wire.open().0 > 0 {
            self.registration.fail();
        }
    }

    /// Resets the streams that have stalled, or closes the connection if nothing else
    /// is left of it.
    #[cold]
    fn look_at_streams(&mut self) {
        let connection = &self.registration.connection;
        let record = &connection.record;
        let (Spoken::Http2(wire), Some(limit)) = (&mut self.spoken, record.shared.limits.stall)
        else {
            return;
        };
        match wire.stalled(micros(record.shared.clock.now()), micros(limit)) {
            Stalled::None => {}
            Stalled::Some(streams) => {
                tracing::debug!(
                    connection = connection.id(),
                    ?streams,
                    "resetting streams whose client does not read"
                );
                let count = u64::try_from(streams.len()).unwrap_or(u64::MAX);
                record.listener.streams_stalled.increment(count);
            }
            Stalled::All => {
                connection.request_close(CloseReason::Stalled);
                connection.force();
            }
        }
        self.registration.connection.note_wire(wire);
    }

    /// The error that whoever reads or writes gets once the time is over.
    fn forced(&self) -> Option<io::Error> {
        let state = self.registration.connection.record.state.load();
        state.is_forced().then(|| {
            let reason = state.reason().unwrap_or(CloseReason::Manual);
            io::Error::new(io::ErrorKind::ConnectionAborted, reason.as_str())
        })
    }

    /// How reading ends once the time is over: with an error, which also ends
    /// handlers, unless there are none. Then the end of the stream is enough.
    fn poll_forced(&self) -> Poll<io::Result<()>> {
        let Some(error) = self.forced() else {
            return Poll::Pending;
        };
        let state = self.registration.connection.record.state.load();
        let record = &self.registration.connection.record;
        let ends_well = self.closes_itself() && !record.is_in_use(record.shared.clock.now());
        let stalled = state.reason() == Some(CloseReason::Stalled);
        Poll::Ready(if ends_well && !stalled {
            Ok(())
        } else {
            Err(error)
        })
    }
}

impl<I: AsyncWrite + Unpin> Tracked<I> {
    /// Writes the frames of ours that are due, where a frame of the server's ends.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.goaway_is_due()
            && let Spoken::Http2(wire) = &mut self.spoken
        {
            wire.send_goaway();
        }
        let Spoken::Http2(wire) = &mut self.spoken else {
            return Poll::Ready(Ok(()));
        };
        loop {
            let rest = wire.out();
            if rest.is_empty() {
                break;
            }
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            wire.advance_out(written);
            self.registration.connection.record.add_written(written);
        }
        if wire.is_unflushed() {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            wire.flushed();
        }
        Poll::Ready(Ok(()))
    }

    fn goaway_is_due(&self) -> bool {
        let record = &self.registration.connection.record;
        let may = matches!(&self.spoken, Spoken::Http2(wire) if wire.can_send_goaway());
        may && self.sends_goaway() && !record.state.load().is_open() && record.state.commit()
    }

    /// Whether reading ends here because the connection is being closed.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = self.registration.connection.record.state.load();
        if state.is_forced() {
            return self.poll_forced();
        }
        if self.has_out() {
            // What cannot be written does not matter: whoever reads will know.
            let _ = self.poll_out(cx);
        }
        if state.is_open() {
            self.linger.stop();
            return Poll::Pending;
        }
        if !self.closes_itself() {
            return Poll::Pending;
        }
        let record = &self.registration.connection.record;
        match record.protocol() {
            Protocol::Http2 if self.sends_goaway() => {
                // The peer may be about to send a request: the end comes with the
                // grace. A goodbye that cannot be said does not matter: it is over.
                let _ = self.poll_out(cx);
                Poll::Pending
            }
            protocol => {
                match record.close_step(false) {
                    CloseStep::Close => {}
                    CloseStep::Linger(limit) => ready!(self.linger.poll(limit, cx)),
                    CloseStep::Wait => {
                        self.linger.stop();
                        self.had_turn = false;
                        return Poll::Pending;
                    }
                }
                // An HTTP/2 server drops a response's body before it has written its
                // last bytes, and it writes nothing more once it has read the end.
                let abrupt = state.reason().is_some_and(CloseReason::is_abrupt);
                if protocol == Protocol::Http2 && !abrupt {
                    let had_turn = std::mem::replace(&mut self.had_turn, true);
                    if !had_turn {
                        cx.waker().wake_by_ref();
                    }
                    if !had_turn || self.registration.connection.record.is_write_blocked() {
                        return Poll::Pending;
                    }
                }
                if self.registration.connection.record.state.commit() {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                }
            }
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Tracked<I> {
    /// Reads where what the client sent, and what the server is to read, differ.
    #[cold]
    fn poll_staged(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let record = &self.registration.connection.record;
        let Spoken::Http2(wire) = &mut self.spoken else {
            return Poll::Ready(Ok(()));
        };
        loop {
            wire.stage_resets(record.stamp());
            self.registration.connection.note_wire(wire);
            if wire.take(buf) {
                return Poll::Ready(Ok(()));
            }
            if !wire.is_staged() {
                let before = buf.filled().len();
                ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
                self.note_filled(buf, before);
                return Poll::Ready(Ok(()));
            }
            let mut bytes = [0; 4 * 1024];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            record.add_read(read.filled());
            wire.stage(read.filled(), record.stamp());
        }
    }

    /// Notes what was read after `before`.
    #[inline]
    fn note_filled(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let bytes = &buf.filled()[before..];
        let noted = self.note_read(bytes);
        if noted < bytes.len() {
            self.stage_rest(buf, before + noted);
        }
    }

    /// Has the server read what follows after `noted` bytes from the stage.
    #[cold]
    fn stage_rest(&mut self, buf: &mut ReadBuf<'_>, noted: usize) {
        if let Spoken::Http2(wire) = &mut self.spoken {
            let connection = &self.registration.connection;
            wire.stage(&buf.filled()[noted..], connection.record.stamp());
            connection.note_wire(wire);
            buf.set_filled(noted);
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
        // Also if there is more to read: a peer could go on for ever.
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
                // Registered before the state is looked at, or a close that comes
                // in between would wake nobody.
                this.registration
                    .connection
                    .record
                    .reader
                    .register(cx.waker());
                this.registration.connection.record.note_no_read();
                this.poll_close(cx)
            }
            Poll::Ready(Ok(())) if buf.filled().len() > before || full => {
                // Bytes that came before the close was carried out may be a
                // request: an idle close is taken back.
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
                    // TLS without a goodbye; many clients are in a hurry.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        this.registration.end = CloseReason::ClientClosed;
                    }
                    Err(_) => this.registration.fail(),
                }
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
        let open = self.registration.connection.record.state.load().is_open();
        if open && !self.has_out() {
            return Poll::Ready(Ok(()));
        }
        self.close_write(cx)
    }

    #[cold]
    fn close_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.forced() {
            return Poll::Ready(Err(error));
        }
        let out = self.poll_out(cx);
        if let Poll::Ready(Err(_)) = &out {
            self.registration.fail();
        }
        if out.is_pending() {
            self.note_blocked();
            // The reaper has to be able to end the wait.
            self.registration
                .connection
                .record
                .writer
                .register(cx.waker());
        }
        out
    }

    #[inline]
    fn after_write(&mut self, cx: &Context<'_>, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.note_written(*bytes);
                self.note_frames(cx);
            }
            Poll::Ready(Err(_)) => self.registration.fail(),
            Poll::Pending => self.note_blocked(),
        }
    }

    /// What is left waiting here has to be ended by a force: that is looked at once
    /// more when it can wake, or one that came in between would be missed.
    fn or_forced<T>(&self, cx: &Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_pending() {
            self.registration
                .connection
                .record
                .writer
                .register(cx.waker());
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

fn new_wire(connection: &Connection) -> Box<Wire> {
    Box::new(Wire::new(connection.record.shared.limits.stall_limit()))
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
