//! What a client may do to a server, on every stack, over real sockets: it is closed
//! in time and for the right reason, and those who mean well are left alone.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tower_ops_connections::{CloseReason, ConnectionEvent, Connections, Peer};

#[path = "support/stacks.rs"]
mod stacks;
use stacks::Stack;

#[path = "support/frames.rs"]
mod frames;
use frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, Http2, PREFACE, frame, get_block, initial_window,
};

const LIMIT: Duration = Duration::from_secs(2);
const PASS: Duration = Duration::from_millis(100);
const GRACE: Duration = Duration::from_millis(500);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(4);

/// What was closed, by the client's address.
type Closed = Arc<Mutex<HashMap<SocketAddr, (CloseReason, Duration)>>>;

fn limited() -> (Connections, Closed) {
    let closed = Closed::default();
    let log = Arc::clone(&closed);
    let connections = Connections::builder()
        .first_byte_timeout(LIMIT)
        .header_timeout(LIMIT)
        .idle_timeout(LIMIT)
        .stall_timeout(LIMIT)
        .grace_timeout(GRACE)
        .check_interval(PASS)
        .on_event(move |event| {
            if let ConnectionEvent::Closed {
                connection,
                reason,
                age,
                ..
            } = event
                && let Peer::Tcp(addr) = connection.peer()
            {
                log.lock().unwrap().insert(addr, (*reason, *age));
            }
        })
        .build()
        .unwrap();
    (connections, closed)
}

const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const SETTINGS_ACK: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// What a client does until the server hangs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    SendsNothing,
    SendsHalfAHead,
    SendsHalfAHeadOnHttp2,
    SendsHalfAFrame,
    SendsAByteAtATime,
    SendsAByteAtATimeOnHttp2,
    SendsHalfAPreface,
    SendsNoSettings,
    SendsHalfASecondHead,
    SendsHalfASecondHeadOnHttp2,
    IsIdleAfterHttp1,
    IsIdleAfterHttp2,
    IsIdleAfterARequestOnHttp2,
    Pings,
    DoesNotRead,
    DoesNotReadOnHttp2,
    OpensNoWindow,
    OpensNoWindowAgain,
    OpensItsWindowAtATrickle,
    HalfCloses,
    HalfClosesOnHttp2,
}

impl Client {
    const ALL: [Self; 21] = [
        Self::SendsNothing,
        Self::SendsHalfAHead,
        Self::SendsHalfAHeadOnHttp2,
        Self::SendsHalfAFrame,
        Self::SendsAByteAtATime,
        Self::SendsAByteAtATimeOnHttp2,
        Self::SendsHalfAPreface,
        Self::SendsNoSettings,
        Self::SendsHalfASecondHead,
        Self::SendsHalfASecondHeadOnHttp2,
        Self::IsIdleAfterHttp1,
        Self::IsIdleAfterHttp2,
        Self::IsIdleAfterARequestOnHttp2,
        Self::Pings,
        Self::DoesNotRead,
        Self::DoesNotReadOnHttp2,
        Self::OpensNoWindow,
        Self::OpensNoWindowAgain,
        Self::OpensItsWindowAtATrickle,
        Self::HalfCloses,
        Self::HalfClosesOnHttp2,
    ];

    fn reason(self) -> CloseReason {
        match self {
            Self::SendsNothing => CloseReason::FirstByteTimeout,
            Self::SendsHalfAHead
            | Self::SendsHalfAHeadOnHttp2
            | Self::SendsHalfAFrame
            | Self::SendsAByteAtATime
            | Self::SendsAByteAtATimeOnHttp2
            | Self::SendsHalfAPreface
            | Self::SendsNoSettings
            | Self::SendsHalfASecondHead
            | Self::SendsHalfASecondHeadOnHttp2 => CloseReason::HeaderTimeout,
            Self::IsIdleAfterHttp1
            | Self::IsIdleAfterHttp2
            | Self::IsIdleAfterARequestOnHttp2
            | Self::Pings => CloseReason::Idle,
            Self::DoesNotRead
            | Self::DoesNotReadOnHttp2
            | Self::OpensNoWindow
            | Self::OpensNoWindowAgain
            | Self::OpensItsWindowAtATrickle => CloseReason::Stalled,
            Self::HalfCloses | Self::HalfClosesOnHttp2 => CloseReason::ClientClosed,
        }
    }

    /// When it has to be gone, at the earliest and at the latest.
    fn gone(self) -> (Duration, Duration) {
        let goodbye = match self {
            // A peer that does not acknowledge GOAWAY has the grace.
            Self::IsIdleAfterHttp2 | Self::IsIdleAfterARequestOnHttp2 | Self::Pings => GRACE + PASS,
            _ => Duration::ZERO,
        };
        let late = LIMIT + PASS + goodbye + SLACK;
        match self {
            Self::HalfCloses | Self::HalfClosesOnHttp2 => (Duration::ZERO, SLACK),
            // Its window begins when the buffers are full.
            Self::DoesNotRead | Self::DoesNotReadOnHttp2 => (LIMIT, late + LIMIT),
            _ => (LIMIT, late),
        }
    }

    async fn connect(self, addr: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        if matches!(self, Self::DoesNotRead | Self::DoesNotReadOnHttp2) {
            socket.set_recv_buffer_size(4 * 1024).unwrap();
        }
        socket.connect(addr).await.unwrap()
    }

    /// Misbehaves until the server hangs up.
    async fn run(self, mut stream: TcpStream) {
        match self {
            Self::SendsNothing => {}
            Self::SendsHalfAHead => send(&mut stream, b"GET / HTTP/1.1\r\nhost: x\r\nx-").await,
            Self::SendsHalfAPreface => send(&mut stream, &PREFACE[..20]).await,
            Self::SendsAByteAtATime => {
                let (mut reader, mut writer) = stream.into_split();
                let drip = async {
                    loop {
                        if writer.write_all(b"G").await.is_err() {
                            return;
                        }
                        sleep(LIMIT / 8).await;
                    }
                };
                tokio::select! {
                    () = drip => {}
                    () = to_end(&mut reader) => {}
                }
                return;
            }
            Self::SendsHalfASecondHead => {
                ask(&mut stream).await;
                send(&mut stream, b"GET / HT").await;
            }
            Self::IsIdleAfterHttp1 => ask(&mut stream).await,
            Self::IsIdleAfterHttp2 => {
                send(&mut stream, PREFACE).await;
                send(&mut stream, SETTINGS).await;
                send(&mut stream, SETTINGS_ACK).await;
            }
            Self::Pings => {
                send(&mut stream, PREFACE).await;
                send(&mut stream, SETTINGS).await;
                send(&mut stream, SETTINGS_ACK).await;
                let (mut reader, mut writer) = stream.into_split();
                let ping = async {
                    loop {
                        if writer.write_all(PING).await.is_err() {
                            return;
                        }
                        sleep(LIMIT / 8).await;
                    }
                };
                tokio::select! {
                    () = ping => {}
                    () = to_end(&mut reader) => {}
                }
                return;
            }
            Self::DoesNotRead => {
                send(&mut stream, b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await;
                // Whether the server hung up cannot be seen without reading.
                sleep(3 * LIMIT).await;
            }
            Self::HalfCloses => {
                ask(&mut stream).await;
                stream.shutdown().await.unwrap();
            }
            _ => {
                let window = match self {
                    Self::OpensNoWindow => 0,
                    Self::DoesNotReadOnHttp2 => (1 << 31) - 1,
                    // What both begin with.
                    _ => 65_535,
                };
                let settings = initial_window(window);
                let client = match self {
                    Self::SendsNoSettings => {
                        send(&mut stream, PREFACE).await;
                        Http2 { stream }
                    }
                    _ => Http2::begin(stream, &settings).await,
                };
                return self.run_on_http2(client).await;
            }
        }
        to_end(&mut stream).await;
    }

    async fn run_on_http2(self, mut client: Http2) {
        let half = frame(HEADERS, END_STREAM, 1, &get_block("/"));
        match self {
            Self::SendsHalfAHeadOnHttp2 => client.write(&half).await,
            Self::SendsHalfAFrame => client.write(&half[..5]).await,
            Self::SendsHalfASecondHeadOnHttp2 => {
                client.get(1, "/").await;
                while client.until(DATA, 1).await.flags & END_STREAM == 0 {}
                let half = frame(HEADERS, END_STREAM, 3, &get_block("/"));
                client.write(&half[..half.len() - 1]).await;
            }
            Self::SendsAByteAtATimeOnHttp2 => {
                let (mut reader, mut writer) = client.stream.into_split();
                let head = frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0; 200]);
                let drip = async {
                    for byte in head {
                        if writer.write_all(&[byte]).await.is_err() {
                            return;
                        }
                        sleep(LIMIT / 8).await;
                    }
                };
                tokio::select! {
                    () = drip => {}
                    () = to_end(&mut reader) => {}
                }
                return;
            }
            Self::IsIdleAfterARequestOnHttp2 => {
                client.get(1, "/").await;
                while client.until(DATA, 1).await.flags & END_STREAM == 0 {}
            }
            Self::HalfClosesOnHttp2 => {
                client.get(1, "/").await;
                while client.until(DATA, 1).await.flags & END_STREAM == 0 {}
                client.stream.shutdown().await.unwrap();
            }
            Self::DoesNotReadOnHttp2 => {
                client.update(0, (1 << 31) - 1 - 65_535).await;
                client.get(1, "/big").await;
                sleep(self.gone().1).await;
            }
            Self::OpensNoWindow | Self::OpensNoWindowAgain | Self::OpensItsWindowAtATrickle => {
                // Two of them, so that it is not one stream that is reset.
                client.get(1, "/big").await;
                client.get(3, "/big").await;
                let (mut reader, mut writer) = client.stream.into_split();
                let pings = async {
                    let more = match self {
                        Self::OpensItsWindowAtATrickle => [0, 1, 3]
                            .map(|stream| frame(frames::WINDOW_UPDATE, 0, stream, &[0, 0, 0, 9]))
                            .concat(),
                        _ => PING.to_vec(),
                    };
                    while writer.write_all(&more).await.is_ok() {
                        sleep(LIMIT / 8).await;
                    }
                };
                tokio::select! {
                    () = pings => {}
                    () = to_end(&mut reader) => {}
                }
                return;
            }
            _ => {}
        }
        to_end(&mut client.stream).await;
    }
}

async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
}

/// One request on HTTP/1, answered.
async fn ask(stream: &mut TcpStream) {
    send(stream, REQUEST).await;
    let mut seen = Vec::new();
    while !seen.ends_with(b"hello") {
        assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "{seen:?}");
    }
}

async fn to_end(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_clients_are_closed_in_time_and_for_the_right_reason() {
    let mut cases = Vec::new();
    for stack in Stack::ALL {
        let (connections, closed) = limited();
        let (addr, server) = stack.serve(&connections).await;
        for client in Client::ALL {
            let (connections, closed) = (connections.clone(), closed.clone());
            cases.push(tokio::spawn(async move {
                let stream = client.connect(addr).await;
                let own = stream.local_addr().unwrap();
                let (earliest, latest) = client.gone();
                let run = timeout(latest + 2 * LIMIT, client.run(stream)).await;
                assert!(run.is_ok(), "{stack:?} {client:?}: never closed");
                let deadline = Instant::now() + SLACK;
                let (reason, age) = loop {
                    if let Some(seen) = closed.lock().unwrap().get(&own) {
                        break *seen;
                    }
                    assert!(Instant::now() < deadline, "{stack:?} {client:?}: not told");
                    sleep(PASS / 10).await;
                };
                assert_eq!(reason, client.reason(), "{stack:?} {client:?}");
                assert!(
                    (earliest..=latest).contains(&age),
                    "{stack:?} {client:?}: closed after {age:?}"
                );
                drop(connections);
            }));
        }
        cases.push(tokio::spawn(async move {
            // Once all are gone, nothing is counted any more.
            let emptied = async {
                sleep(2 * LIMIT).await;
                while !connections.is_empty() {
                    sleep(PASS).await;
                }
            };
            let emptied = timeout(4 * (LIMIT + SLACK), emptied).await;
            assert!(emptied.is_ok(), "{stack:?} {connections:?}");
            server.abort();
        }));
    }
    let mut failed = Vec::new();
    for case in cases {
        failed.extend(case.await.err());
    }
    assert!(failed.is_empty(), "{} cases failed", failed.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_mean_well_are_left_alone() {
    let mut cases = Vec::new();
    for stack in Stack::ALL {
        let (connections, closed) = limited();
        let (addr, _server) = stack.serve(&connections).await;
        cases.push(tokio::spawn(async move {
            // Longer than every limit.
            let mut stream = TcpStream::connect(addr).await.unwrap();
            send(&mut stream, b"GET /slow/5000 HTTP/1.1\r\nhost: x\r\n\r\n").await;
            let mut seen = Vec::new();
            while !seen.ends_with(b"waited") {
                let read = stream.read_buf(&mut seen).await.unwrap();
                assert_ne!(read, 0, "{stack:?}: a handler was cut off");
            }
        }));
        cases.push(tokio::spawn(async move {
            let mut client = Http2::connect(addr).await;
            client.get(1, "/slow/2500").await;
            assert_eq!(client.until(DATA, 1).await.payload, b"waited", "{stack:?}");
        }));
        cases.push(tokio::spawn(async move {
            let mut client = Http2::connect(addr).await;
            for stream in [1, 3, 5, 7, 9] {
                client.get(stream, "/").await;
                assert_eq!(client.until(DATA, stream).await.payload, b"hello");
                sleep(LIMIT / 2).await;
            }
        }));
        // A reader that is slow, but reads.
        cases.push(tokio::spawn(async move {
            let mut client = Http2::connect_with(addr, &initial_window(4_096)).await;
            client.get(1, "/big").await;
            let begun = Instant::now();
            while begun.elapsed() < 5 * LIMIT / 2 {
                let data = client.until(DATA, 1).await;
                sleep(LIMIT / 4).await;
                let more = u32::try_from(data.payload.len()).unwrap();
                client.update(0, more).await;
                client.update(1, more).await;
            }
        }));
        cases.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            for _ in 0..5 {
                ask(&mut stream).await;
                sleep(LIMIT / 2).await;
            }
        }));
        if stack.upgrades() {
            cases.push(tokio::spawn(async move { chat(stack, addr).await }));
            cases.push(tokio::spawn(
                async move { chat_on_http2(stack, addr).await },
            ));
        }
        cases.push(tokio::spawn(async move {
            sleep(5 * LIMIT / 2).await;
            let mut closed = closed.lock().unwrap();
            // They may be done.
            closed.retain(|_, (reason, _)| *reason != CloseReason::ClientClosed);
            assert!(closed.is_empty(), "{stack:?}: {closed:?}");
        }));
    }
    let mut failed = Vec::new();
    for case in cases {
        failed.extend(case.await.err());
    }
    assert!(failed.is_empty(), "{} cases failed", failed.len());
}

/// A WebSocket that says something now and then, and gets it back.
async fn chat(stack: Stack, addr: SocketAddr) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let upgrade = b"GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    send(&mut stream, upgrade).await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0, "{stack:?}");
    }
    // Text, two bytes, masked with zeros.
    let hi = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
    for _ in 0..5 {
        send(&mut stream, &hi).await;
        let mut back = [0; 4];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, [0x81, 2, b'h', b'i'], "{stack:?}");
        sleep(LIMIT / 2).await;
    }
}

/// As above, over HTTP/2.
async fn chat_on_http2(stack: Stack, addr: SocketAddr) {
    let mut client = Http2::connect(addr).await;
    client.websocket(1, "/ws").await;
    for _ in 0..5 {
        let hi = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
        client.send(DATA, 0, 1, &hi).await;
        let back = client.until(DATA, 1).await;
        assert_eq!(back.payload, [0x81, 2, b'h', b'i'], "{stack:?}");
        sleep(LIMIT / 2).await;
    }
}

#[tokio::test]
async fn the_peer_is_known_to_the_framework_and_to_the_connection() {
    for stack in Stack::ALL {
        let connections = Connections::new();
        let (addr, _server) = stack.serve(&connections).await;
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let own = stream.local_addr().unwrap();
        send(
            &mut stream,
            b"GET /peer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        )
        .await;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let told = answer.rsplit("\r\n").next().unwrap();
        assert_eq!(told, format!("{own} {own} 1"), "{stack:?}");
    }
}
