//! The next step of a connection that is being closed.
//!
//! On HTTP/1 only a response can carry `Connection: close`. A client between two requests does not
//! know of the close, and the request that it sends next would be lost. So the server waits for one
//! more request, and closes the connection if none comes. On HTTP/2 GOAWAY can be sent at any time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::clock::after;
use crate::close::state::StateWord;
use crate::record::Record;
use crate::{CloseReason, Protocol};

/// What the task that closes a connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseStep {
    /// Wait: the connection is open, or something has to end first.
    Wait,
    /// Close when no request came for that long.
    Linger(Duration),
    /// Close now.
    Close,
}

impl Record {
    /// Returns the next step. `has_goaway`: if this is HTTP/2, the caller can send GOAWAY.
    pub(crate) fn close_step(&self, has_goaway: bool) -> CloseStep {
        let state = self.state.load();
        let Some(reason) = state.reason() else {
            return CloseStep::Wait;
        };
        if state.is_forced() || reason.is_abrupt() {
            return CloseStep::Close;
        }
        match self.protocol() {
            // The handler that waits for `closing()` has the grace to end it.
            Protocol::Upgraded => CloseStep::Wait,
            // A client that has just connected may have sent its first request.
            Protocol::Http2 if has_goaway => {
                let limits = &self.shared.limits;
                if reason == CloseReason::Idle || self.exchanges() > 0 {
                    CloseStep::Close
                } else {
                    // GOAWAY needs some of the grace.
                    CloseStep::Linger(limits.linger.min(limits.grace / 2))
                }
            }
            Protocol::Unknown | Protocol::Http1 | Protocol::Http2 => {
                let in_use = self.is_in_use(self.shared.clock.now());
                // hyper drops a response's body before it has written its last bytes.
                let unwritten = self.is_write_blocked() && reason != CloseReason::Idle;
                if in_use || unwritten || self.head_begun().is_some() {
                    CloseStep::Wait
                } else if reason == CloseReason::Idle {
                    CloseStep::Close
                } else {
                    CloseStep::Linger(self.linger(reason))
                }
            }
        }
    }

    fn linger(&self, reason: CloseReason) -> Duration {
        let limits = &self.shared.limits;
        if reason == CloseReason::Drain || self.shared.is_draining() {
            limits.linger.min(limits.grace)
        } else {
            limits.grace
        }
    }

    /// Returns whether a close now would lose nothing but a request that may be on its way.
    pub(crate) fn lingers(&self) -> bool {
        matches!(self.close_step(false), CloseStep::Linger(_))
            && self.protocol() != Protocol::Http2
            && !self.is_write_blocked()
    }

    /// Returns when the grace of a connection that is being closed began.
    pub(crate) fn grace_since(&self, state: StateWord) -> Duration {
        let learns_by_response = matches!(self.protocol(), Protocol::Unknown | Protocol::Http1);
        if learns_by_response && !state.is_busy() {
            // The head of the last response may have gone out before the close was requested.
            self.closing_since().max(self.idle_since())
        } else {
            self.closing_since()
        }
    }
}

/// The wait for one more request, in the task that closes the connection. Allocates only while it
/// waits.
#[derive(Default)]
pub(crate) struct Linger(Option<Pin<Box<Sleep>>>);

impl Linger {
    /// Ready when no request came for `limit`, which may become shorter from poll to poll.
    pub(crate) fn poll(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        if limit.is_zero() {
            return Poll::Ready(());
        }
        let until = after(Instant::now(), limit);
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if until < sleep.deadline() {
            sleep.as_mut().reset(until);
        }
        sleep.as_mut().poll(cx)
    }

    /// Ends the wait: a request has begun, or the close was revoked.
    pub(crate) fn stop(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io;

    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
    use tokio::io::{copy, duplex, repeat, sink, split};
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::{Connection, Connections, Peer, Tracked};

    const SECOND: Duration = Duration::from_secs(1);

    async fn open(connections: &Connections) -> (Tracked<DuplexStream>, Connection, DuplexStream) {
        let (server, client) = duplex(64);
        let io = connections.accept(server, Peer::Unknown).await.unwrap();
        let connection = io.connection().clone();
        connection.record.set_served();
        (io, connection, client)
    }

    /// How long it takes until reading ends, at which the server closes.
    async fn ends(io: &mut Tracked<DuplexStream>) -> Duration {
        let begun = Instant::now();
        loop {
            match timeout(100 * SECOND, io.read(&mut [0; 64])).await {
                Ok(Ok(0) | Err(_)) => return begun.elapsed(),
                Ok(Ok(_)) => {}
                Err(_) => return Duration::MAX,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_reason_waits_as_long_as_it_has_to() {
        for (reason, wait) in [
            (CloseReason::Drain, SECOND),
            (CloseReason::Manual, 10 * SECOND),
            (CloseReason::MaxAge, 10 * SECOND),
            (CloseReason::MaxRequests, 10 * SECOND),
            (CloseReason::Idle, Duration::ZERO),
            (CloseReason::FirstByteTimeout, Duration::ZERO),
            (CloseReason::HeaderTimeout, Duration::ZERO),
        ] {
            let connections = Connections::new();
            let (mut io, connection, _client) = open(&connections).await;
            connection.request_close(reason);
            assert_eq!(ends(&mut io).await, wait, "{reason}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_begins_anew_with_each_end_of_what_was_in_flight() {
        let connections = Connections::new();
        let (mut io, connection, mut client) = open(&connections).await;
        connection.request_close(CloseReason::Drain);
        let task = tokio::spawn({
            let connection = connection.clone();
            async move {
                sleep(SECOND / 2).await;
                client.write_all(b"GET").await.unwrap();
                // Longer than the linger: half a head is waited for.
                sleep(3 * SECOND).await;
                client.write_all(b" / HTTP/1.1\r\n\r\n").await.unwrap();
                connection.begin();
                sleep(30 * SECOND).await;
                connection.end();
                client
            }
        });
        let took = ends(&mut io).await;
        assert_eq!(took, SECOND / 2 + 3 * SECOND + 30 * SECOND + SECOND);
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_has_the_grace() {
        let connections = Connections::new();
        let (mut io, connection, mut client) = open(&connections).await;
        client.write_all(b"GET").await.unwrap();
        io.read_exact(&mut [0; 3]).await.unwrap();
        connection.request_close(CloseReason::Drain);
        let took = ends(&mut io).await;
        assert!((10 * SECOND..13 * SECOND).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_on_two_tasks_ends_on_both() {
        // Each way waits: the peer neither reads nor writes.
        let connections = Connections::new();
        let (io, connection, _client) = open(&connections).await;
        connection.set_protocol(Protocol::Upgraded);
        let (mut reader, mut writer) = split(io);
        let down = tokio::spawn(async move { copy(&mut repeat(7), &mut writer).await });
        let up = tokio::spawn(async move { copy(&mut reader, &mut sink()).await });
        sleep(SECOND).await;
        let report = connections.drain(SECOND).await;
        assert_eq!((report.forced, report.left), (1, 0), "{report}");
        let (down, up) = (timeout(SECOND, down).await, timeout(SECOND, up).await);
        assert!(down.expect("ends").unwrap().is_err());
        let _ = up.expect("ends").unwrap();
    }

    /// A stream that neither reads nor writes, not even the end.
    struct Blocked;

    impl AsyncRead for Blocked {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Blocked {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_waits_to_go_out_is_ended_by_force() {
        for (step, name) in ["write", "flush", "shutdown"].into_iter().enumerate() {
            for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Upgraded] {
                let connections = Connections::new();
                let io = connections.accept(Blocked, Peer::Unknown).await.unwrap();
                io.connection().set_protocol(protocol);
                let task = tokio::spawn(async move {
                    let mut io = std::pin::pin!(io);
                    poll_fn(|cx| match step {
                        0 => io.as_mut().poll_write(cx, b"x").map_ok(drop),
                        1 => io.as_mut().poll_flush(cx),
                        _ => io.as_mut().poll_shutdown(cx),
                    })
                    .await
                });
                sleep(SECOND).await;
                let report = connections.drain(SECOND).await;
                assert_eq!(report.left, 0, "{protocol} {name}: {report}");
                assert!(task.await.unwrap().is_err(), "{protocol} {name}");
            }
        }
    }
}
