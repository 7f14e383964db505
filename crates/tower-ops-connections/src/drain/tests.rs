use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf, duplex, join};
use tokio::time::{Sleep, sleep};

use super::*;
use crate::{Connections, Peer, Tracked};

const SECOND: Duration = Duration::from_secs(1);

/// A connection with an exchange in flight, served by a task that only reads.
async fn busy(connections: &Connections) -> (Connection, DuplexStream) {
    let (server, client) = duplex(64);
    let io = connections.accept(server, Peer::Unknown).await.unwrap();
    let connection = io.connection().clone();
    connection.begin();
    tokio::spawn(read(io));
    (connection, client)
}

async fn read(mut io: Tracked<impl AsyncRead + AsyncWrite + Unpin>) {
    let _ = io.read_to_end(&mut Vec::new()).await;
}

/// A stream that breaks at a moment.
struct Breaks(Pin<Box<Sleep>>);

impl AsyncRead for Breaks {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let broken = io::ErrorKind::ConnectionReset;
        self.0.as_mut().poll(cx).map(|()| Err(broken.into()))
    }
}

fn counted(report: &DrainReport) -> (usize, usize, usize, usize) {
    assert_eq!(report.broken.len(), report.lost, "{report}");
    assert_eq!(report.cut.len(), report.forced, "{report}");
    (report.graceful, report.lost, report.forced, report.left)
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_and_what_is_cut_is_counted_once_each() {
    let connections = Connections::new();
    let _cut = [busy(&connections).await, busy(&connections).await];
    let breaks = join(Breaks(Box::pin(sleep(SECOND))), tokio::io::sink());
    let io = connections.accept(breaks, Peer::Unknown).await.unwrap();
    io.connection().begin();
    tokio::spawn(read(io));
    let report = connections.drain(3 * SECOND).await;
    assert_eq!(counted(&report), (0, 1, 2, 0), "{report}");
    // Those that are lost are counted from the first drain on.
    let report = connections.drain(SECOND).await;
    assert_eq!(counted(&report), (0, 1, 0, 0), "{report}");
}

/// Cut by the drain, whatever they were being closed for.
#[tokio::test(start_paused = true)]
async fn what_is_cut_while_it_is_closed_for_another_reason_is_never_lost() {
    for reason in [
        CloseReason::MaxAge,
        CloseReason::MaxRequests,
        CloseReason::Drain,
    ] {
        let connections = Connections::new();
        let (connection, _client) = busy(&connections).await;
        assert!(connection.request_close(reason));
        let report = connections.drain(SECOND).await;
        assert_eq!(counted(&report), (0, 0, 1, 0), "{reason}: {report}");
        let report = connections.drain(SECOND).await;
        assert_eq!(counted(&report), (0, 0, 0, 0), "{reason}: {report}");
    }
}

/// It is lost, and still listed, when the deadline comes.
#[tokio::test(start_paused = true)]
async fn what_is_lost_at_the_deadline_is_not_cut_as_well() {
    let connections = Connections::new();
    let (connection, _client) = busy(&connections).await;
    let drain = tokio::spawn(connections.drain(SECOND));
    sleep(SECOND / 2).await;
    connections.shared.note_lost(&connection, 1);
    let report = drain.await.unwrap();
    assert_eq!(counted(&report), (0, 1, 0, 0), "{report}");
}

/// As the reaper ends it when its client has stalled.
#[tokio::test(start_paused = true)]
async fn what_is_forced_before_the_deadline_is_lost() {
    let connections = Connections::new();
    let (connection, _client) = busy(&connections).await;
    let drain = tokio::spawn(connections.drain(10 * SECOND));
    sleep(SECOND).await;
    connection.force();
    let report = drain.await.unwrap();
    assert_eq!(counted(&report), (0, 1, 0, 0), "{report}");
}
