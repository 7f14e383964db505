//! How connections are told to go, on every stack: HTTP/1 with `Connection: close`,
//! HTTP/2 with GOAWAY; and that what is in flight is answered.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tower_ops_connections::Connections;

#[path = "support/stacks.rs"]
mod stacks;
use stacks::Stack;

#[path = "support/frames.rs"]
mod frames;
use frames::{DATA, END_STREAM, Frame, GOAWAY, Http2};

const MILLI: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(20);

fn last_streams(frames: &[Frame]) -> Vec<u32> {
    let goaways = frames.iter().filter(|frame| frame.kind == GOAWAY);
    goaways
        .map(|frame| {
            assert_eq!(frame.payload[4..8], [0; 4], "an error in {frame:?}");
            u32::from_be_bytes(frame.payload[..4].try_into().unwrap())
        })
        .collect()
}

fn connections() -> Connections {
    let builder = Connections::builder()
        .grace_timeout(400 * MILLI)
        .check_interval(50 * MILLI);
    builder.build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_gets_goaway_and_every_answer() {
    for stack in Stack::ALL {
        let connections = connections();
        let (addr, _server) = stack.serve(&connections).await;
        let mut client = Http2::connect(addr).await;
        client.get(1, "/slow/600").await;
        client.get(3, "/slow/300").await;
        let drain = {
            let connections = connections.clone();
            tokio::spawn(async move {
                while connections.snapshot(0, 1).iter().all(|it| it.in_flight < 2) {
                    sleep(MILLI).await;
                }
                connections.drain(LONG).await
            })
        };
        let frames = client.rest().await;
        let last = last_streams(&frames);
        assert_eq!(
            last[0],
            (1 << 31) - 1,
            "{stack:?}: no new stream is refused"
        );
        if stack == Stack::Own {
            // After a round trip, hyper says which was really the last.
            assert_eq!(last, [(1 << 31) - 1, 3], "{stack:?}");
        }
        let goaway = frames.iter().position(|frame| frame.kind == GOAWAY);
        for stream in [1, 3] {
            let data = frames
                .iter()
                .rposition(|it| it.kind == DATA && it.stream == stream);
            let data = data.unwrap_or_else(|| panic!("{stack:?}: no answer on {stream}"));
            assert!(goaway < Some(data), "{stack:?}: told too late");
            assert_eq!(frames[data].payload, b"waited", "{stack:?}");
            assert_eq!(frames[data].flags & END_STREAM, END_STREAM);
        }
        let report = drain.await.unwrap();
        assert_eq!(
            (report.graceful, report.forced),
            (1, 0),
            "{stack:?} {report}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_opened_right_after_goaway_is_served() {
    for stack in Stack::ALL {
        let connections = connections();
        let (addr, _server) = stack.serve(&connections).await;
        let mut client = Http2::connect(addr).await;
        client.get(1, "/").await;
        while client.next().await.unwrap().flags & END_STREAM == 0 {}
        let id = connections.snapshot(0, 1)[0].id;
        assert!(connections.close(id));
        // The client sent this before it could know.
        client.get(3, "/").await;
        let frames = client.rest().await;
        let answered = frames.iter().any(|it| it.kind == DATA && it.stream == 3);
        assert!(answered, "{stack:?}: {frames:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_is_told_with_the_answer_in_flight() {
    for stack in Stack::ALL {
        let connections = connections();
        let (addr, _server) = stack.serve(&connections).await;
        let mut busy = TcpStream::connect(addr).await.unwrap();
        let request = b"GET /slow/300 HTTP/1.1\r\nhost: x\r\n\r\n";
        busy.write_all(request).await.unwrap();
        let mut silent = TcpStream::connect(addr).await.unwrap();
        while connections.len() < 2
            || connections
                .snapshot(0, 2)
                .iter()
                .all(|it| it.in_flight == 0)
        {
            sleep(MILLI).await;
        }
        let report = connections.drain(LONG).await;
        assert_eq!(
            (report.graceful, report.forced),
            (2, 0),
            "{stack:?} {report}"
        );
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();
        let answer = answer.to_ascii_lowercase();
        assert!(
            answer.contains("connection: close\r\n"),
            "{stack:?}: {answer}"
        );
        assert!(answer.ends_with("waited"), "{stack:?}: {answer}");
        assert_eq!(silent.read(&mut [0]).await.unwrap(), 0, "{stack:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_end_is_cut_off_at_the_deadline_and_named() {
    for stack in Stack::ALL {
        let connections = connections();
        let (addr, _server) = stack.serve(&connections).await;
        let mut stuck = TcpStream::connect(addr).await.unwrap();
        let request = b"GET /slow/60000 HTTP/1.1\r\nhost: x\r\n\r\n";
        stuck.write_all(request).await.unwrap();
        let mut http2 = Http2::connect(addr).await;
        http2.get(1, "/slow/60000").await;
        let mut half = TcpStream::connect(addr).await.unwrap();
        half.write_all(b"GET / HT").await.unwrap();
        while connections
            .snapshot(0, 3)
            .iter()
            .map(|it| it.in_flight)
            .sum::<u32>()
            < 2
            || connections
                .snapshot(0, 3)
                .iter()
                .any(|it| it.bytes_read == 0)
            || connections.len() < 3
        {
            sleep(MILLI).await;
        }
        let begun = Instant::now();
        let report = connections.drain(LONG / 8).await;
        assert!(begun.elapsed() < LONG, "{stack:?} {report}");
        // Half a head is no request, and has the grace only.
        assert_eq!(
            (report.graceful, report.forced),
            (1, 2),
            "{stack:?} {report}"
        );
        assert_eq!(report.left, 0, "{stack:?} {report}");
        let text = report.to_string();
        let own = stuck.local_addr().unwrap().to_string();
        assert!(text.contains(&own) && text.contains("in flight"), "{text}");
        let _ = stuck.read(&mut [0]).await;
        http2.rest().await;
        assert!(connections.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_is_told_and_then_cut_off() {
    for stack in Stack::ALL.into_iter().filter(|stack| stack.upgrades()) {
        let connections = connections();
        let (addr, _server) = stack.serve(&connections).await;
        let mut socket = TcpStream::connect(addr).await.unwrap();
        let upgrade = b"GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n\
            upgrade: websocket\r\nsec-websocket-version: 13\r\n\
            sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
        socket.write_all(upgrade).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert_ne!(socket.read_buf(&mut head).await.unwrap(), 0, "{stack:?}");
        }
        let id = connections.snapshot(0, 1)[0].id;
        let closing = connections.get(id).unwrap().closing();
        let begun = Instant::now();
        let drain = tokio::spawn(connections.drain(LONG));
        assert_eq!(closing.await.as_str(), "drain", "{stack:?}");
        let told = begun.elapsed();
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
        let report = drain.await.unwrap();
        assert!(report.took >= 400 * MILLI, "{stack:?}: the grace, {report}");
        assert!(told < report.took, "{stack:?}: {told:?}, {report}");
        assert!(report.took < LONG, "{stack:?}: {report}");
        assert_eq!(report.left, 0, "{stack:?}: {report}");
    }
}
