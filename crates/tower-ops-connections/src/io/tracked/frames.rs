//! What the bytes of a connection mean: the protocol is detected, and the frames of HTTP/2 are
//! followed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Spoken, Tracked};
use crate::clock::micros;
use crate::http2::{Stalled, Wire};
use crate::io::sniff::Sniffed;
use crate::{CloseReason, Connection, Protocol};

impl<I> Tracked<I> {
    pub(super) fn is_staged(&self) -> bool {
        matches!(&self.spoken, Spoken::Http2(wire) if wire.is_staged())
    }

    pub(super) fn has_out(&self) -> bool {
        matches!(&self.spoken, Spoken::Http2(wire) if wire.has_out())
    }

    /// Returns whether to read no more until the client has read. hyper buffers what is written to a
    /// tunnel on HTTP/2, where the meter cannot count it: a client that sends and never reads could
    /// have its echoes buffered without a bound. On HTTP/1 a tunnel that cannot write stops reading as
    /// well. The task that writes is this one, and polls again when it can.
    pub(super) fn holds_back(&self) -> bool {
        let record = &self.registration.connection.record;
        matches!(self.spoken, Spoken::Http2(_))
            && record.http2.has_tunnels()
            && record.is_write_blocked()
    }

    /// Returns how many of the bytes the server may read as they are; the rest has to be staged.
    #[inline]
    pub(super) fn note_read(&mut self, bytes: &[u8]) -> usize {
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

    pub(super) fn detect(&mut self, bytes: &[u8]) -> usize {
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
                // A part of the preface may have been there for long.
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
    pub(super) fn note_written(&mut self, bytes: usize) {
        let record = &self.registration.connection.record;
        record.add_written(bytes);
        record.note_not_blocked();
    }

    pub(super) fn note_blocked(&self) {
        self.registration.connection.record.note_blocked();
    }

    #[inline]
    pub(super) fn follow(&mut self, bytes: &[u8]) {
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

    pub(super) const fn follows(&self) -> bool {
        !matches!(self.spoken, Spoken::Bytes)
    }

    /// Publishes what the frames show that were written.
    #[inline]
    pub(super) fn note_frames(&mut self, cx: &Context<'_>) {
        let record = &self.registration.connection.record;
        let Spoken::Http2(wire) = &self.spoken else {
            return;
        };
        self.registration.connection.note_wire(wire);
        let goaway = !record.state.load().is_open() && wire.can_send_goaway();
        let due = wire.has_out() || (goaway && self.sends_goaway());
        if due && !wire.is_half_written() {
            // The server does not write again because of an inserted frame.
            cx.waker().wake_by_ref();
        }
        if wire.has_failed() && wire.open().0 > 0 {
            self.registration.fail();
        }
    }

    /// Resets the streams that have stalled, or closes the connection if no others are left.
    #[cold]
    pub(super) fn look_at_streams(&mut self) {
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
}

impl<I: AsyncRead + AsyncWrite + Unpin> Tracked<I> {
    /// Reads where the server is to read something else than the client sent.
    #[cold]
    pub(super) fn poll_staged(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
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

    /// Follows what was read into `buf` after `before`.
    #[inline]
    pub(super) fn note_filled(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let bytes = &buf.filled()[before..];
        let noted = self.note_read(bytes);
        if noted < bytes.len() {
            self.stage_rest(buf, before + noted);
        }
    }

    /// Moves what follows after `noted` bytes to the stage.
    #[cold]
    pub(super) fn stage_rest(&mut self, buf: &mut ReadBuf<'_>, noted: usize) {
        if let Spoken::Http2(wire) = &mut self.spoken {
            let connection = &self.registration.connection;
            wire.stage(&buf.filled()[noted..], connection.record.stamp());
            connection.note_wire(wire);
            buf.set_filled(noted);
        }
    }
}

fn new_wire(connection: &Connection) -> Box<Wire> {
    Box::new(Wire::new(connection.record.shared.limits.stall_limit()))
}
