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
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
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
