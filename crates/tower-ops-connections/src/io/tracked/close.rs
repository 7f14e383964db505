//! How a connection ends here: reading ends in order once that is due, and everything fails once it
//! is forced.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::{Spoken, Tracked};
use crate::close::closing::CloseStep;
use crate::connections::limits::Http2Close;
use crate::{CloseReason, Protocol};

impl<I> Tracked<I> {
    /// Returns whether this wrapper carries out the close.
    pub(super) fn closes_itself(&self) -> bool {
        let record = &self.registration.connection.record;
        !record.is_managed() || record.protocol() == Protocol::Upgraded
    }

    /// Returns whether this wrapper sends GOAWAY.
    pub(super) fn sends_goaway(&self) -> bool {
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

    /// Returns the error of reads and writes once the connection is forced.
    pub(super) fn forced(&self) -> Option<io::Error> {
        let state = self.registration.connection.record.state.load();
        state.is_forced().then(|| {
            let reason = state.reason().unwrap_or(CloseReason::Manual);
            io::Error::new(io::ErrorKind::ConnectionAborted, reason.as_str())
        })
    }

    /// How reading ends once the connection is forced: with an error, which also ends handlers; with
    /// the end of the stream, if nothing is in flight.
    pub(super) fn poll_forced(&self) -> Poll<io::Result<()>> {
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
    /// Writes the inserted frames, where a frame of the server's ends.
    pub(super) fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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

    pub(super) fn goaway_is_due(&self) -> bool {
        let record = &self.registration.connection.record;
        let may = matches!(&self.spoken, Spoken::Http2(wire) if wire.can_send_goaway());
        may && self.sends_goaway() && !record.state.load().is_open() && record.state.commit()
    }

    /// Ends reading, if the connection is being closed and may end now.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = self.registration.connection.record.state.load();
        if state.is_forced() {
            return self.poll_forced();
        }
        if self.has_out() {
            // An error does not matter here: the reader gets one as well.
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
                // The peer may be about to send a request, so the end comes with the grace. If GOAWAY
                // cannot be written, the connection is over anyway.
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
                // An HTTP/2 server drops a response body before it has written the last bytes, and
                // writes no more once it has read the end. So it gets one more turn.
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

impl<I: AsyncWrite + Unpin> Tracked<I> {
    #[inline]
    pub(super) fn before_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let open = self.registration.connection.record.state.load().is_open();
        if open && !self.has_out() {
            return Poll::Ready(Ok(()));
        }
        self.close_write(cx)
    }

    #[cold]
    pub(super) fn close_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.forced() {
            return Poll::Ready(Err(error));
        }
        let out = self.poll_out(cx);
        if let Poll::Ready(Err(_)) = &out {
            self.registration.fail();
        }
        if out.is_pending() {
            self.note_blocked();
            // A force has to end the wait.
            self.registration
                .connection
                .record
                .writer
                .register(cx.waker());
        }
        out
    }

    #[inline]
    pub(super) fn after_write(&mut self, cx: &Context<'_>, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.note_written(*bytes);
                self.note_frames(cx);
            }
            Poll::Ready(Err(_)) => self.registration.fail(),
            Poll::Pending => self.note_blocked(),
        }
    }

    /// Fails what is pending if the connection is forced. The state is read after the waker is
    /// registered, or a force in between would wake nobody.
    pub(super) fn or_forced<T>(
        &self,
        cx: &Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
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
