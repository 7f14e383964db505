//! What closes a connection between two requests loses none of them, on every stack: a
//! client of HTTP/1 hears of it with an answer first, and one that has only just
//! connected is answered.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tower_ops_connections::{CloseReason, Connections};

#[path = "support/stacks.rs"]
mod stacks;
use stacks::Stack;

const MILLI: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(20);
/// The default.
const LINGER: Duration = Duration::from_secs(1);

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const POST: &[u8] = b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello";

/// A client of HTTP/1 that believes what it is told.
struct Polite {
    stream: TcpStream,
    /// It was told to go.
    told: bool,
}

impl Polite {
    async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        Self {
            stream,
            told: false,
        }
    }

    /// Sends `request`; the body of the answer, or `None` if it was lost.
    async fn ask(&mut self, request: &[u8]) -> Option<String> {
        assert!(!self.told, "impolite");
        self.stream.write_all(request).await.ok()?;
        self.answer().await
    }

    async fn answer(&mut self) -> Option<String> {
        let mut seen = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&seen).to_ascii_lowercase();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                let complete = match length {
                    Some(length) => body.len() >= length.parse().unwrap(),
                    None => body.ends_with("0\r\n\r\n"),
                };
                if complete {
                    self.told = head.lines().any(|line| line == "connection: close");
                    return Some(body.to_owned());
                }
            }
            if self.stream.read_buf(&mut seen).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// The server has hung up.
    async fn ended(&mut self) {
        let end = timeout(LONG, self.stream.read(&mut [0])).await;
        assert!(matches!(end.expect("never closed"), Ok(0) | Err(_)));
    }
}

/// Several lives of one client: how often it was told to go, and what it lost.
async fn polls(addr: SocketAddr, pause: Duration, times: usize) -> (usize, usize) {
    let (mut told, mut lost) = (0, 0);
    let mut client = Polite::connect(addr).await;
    for index in 0..times {
        let request = if index % 2 == 0 { GET } else { POST };
        lost += usize::from(client.ask(request).await.is_none());
        if client.told {
            told += 1;
            client = Polite::connect(addr).await;
        }
        sleep(pause).await;
    }
    (told, lost)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_often_loses_nothing_to_max_age() {
    for stack in Stack::ALL {
        let connections = Connections::builder()
            .max_age(100 * MILLI)
            .check_interval(10 * MILLI)
            .build()
            .unwrap();
        let (addr, _server) = stack.serve(&connections).await;
        let (told, lost) = polls(addr, 50 * MILLI, 30).await;
        assert_eq!(lost, 0, "{stack:?}");
        assert!(told >= 3, "{stack:?}: told {told} times");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_often_loses_nothing_to_a_close_by_hand_or_by_count() {
    for stack in Stack::ALL {
        let connections = Connections::builder().max_requests(7).build().unwrap();
        let (addr, _server) = stack.serve(&connections).await;
        let closing = {
            let connections = connections.clone();
            tokio::spawn(async move {
                loop {
                    for it in connections.snapshot(0, 9) {
                        connections.close(it.id);
                    }
                    sleep(40 * MILLI).await;
                }
            })
        };
        let (told, lost) = polls(addr, 10 * MILLI, 60).await;
        closing.abort();
        assert_eq!(lost, 0, "{stack:?}");
        assert!(told >= 5, "{stack:?}: told {told} times");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_clients_that_pause() {
    for stack in Stack::ALL {
        let connections = Connections::new();
        let (addr, _server) = stack.serve(&connections).await;
        let (begin, begun) = tokio::sync::watch::channel(false);
        let clients: Vec<_> = (0..10)
            .map(|index| {
                let mut begun = begun.clone();
                tokio::spawn(async move {
                    let mut client = Polite::connect(addr).await;
                    assert!(client.ask(GET).await.is_some());
                    begun.wait_for(|begun| *begun).await.unwrap();
                    sleep(index * 50 * MILLI).await;
                    let answer = client.ask(POST).await;
                    assert!(answer.is_some(), "{stack:?}: lost after {index}");
                    assert!(client.told, "{stack:?}: not told");
                    client.ended().await;
                })
            })
            .collect();
        while connections
            .snapshot(0, 99)
            .iter()
            .filter(|it| it.exchanges == 1 && it.in_flight == 0)
            .count()
            < 10
        {
            sleep(MILLI).await;
        }
        begin.send(true).unwrap();
        let report = connections.drain(LONG).await;
        assert_eq!((report.graceful, report.forced), (10, 0), "{stack:?}");
        for client in clients {
            client.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_request_just_after_a_drain_began_is_answered() {
    for stack in Stack::ALL {
        let connections = Connections::new();
        let (addr, _server) = stack.serve(&connections).await;
        let mut streams = Vec::new();
        for _ in 0..9 {
            streams.push(TcpStream::connect(addr).await.unwrap());
        }
        while connections.len() < 9 {
            sleep(MILLI).await;
        }
        let clients: Vec<_> = (0_u32..9)
            .zip(streams)
            .map(|(index, stream)| {
                tokio::spawn(async move {
                    let answered = match index {
                        // The preface is there, and the request comes later.
                        8 => http2(stream, 400 * MILLI).await,
                        _ => {
                            sleep(index / 2 * 150 * MILLI).await;
                            if index % 2 == 0 {
                                let told = false;
                                Polite { stream, told }.ask(GET).await.is_some()
                            } else {
                                http2(stream, Duration::ZERO).await
                            }
                        }
                    };
                    assert!(answered, "{stack:?} {index}: lost");
                })
            })
            .collect();
        let report = connections.drain(LONG).await;
        assert_eq!((report.graceful, report.forced), (9, 0), "{stack:?}");
        for client in clients {
            client.await.unwrap();
        }
    }
}

/// One request on HTTP/2, so long after the preface. Whether it was answered.
async fn http2(mut stream: TcpStream, pause: Duration) -> bool {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(preface).await.unwrap();
    sleep(pause).await;
    timeout(LONG / 4, http2_get(stream)).await.expect("an end")
}

async fn http2_get(mut stream: TcpStream) -> bool {
    // GET, http, /, and a literal authority.
    let request = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x01\x01x";
    if stream.write_all(request).await.is_err() {
        return false;
    }
    loop {
        let mut header = [0; 9];
        if stream.read_exact(&mut header).await.is_err() {
            return false;
        }
        let [a, b, c, kind, flags, ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        match kind {
            0 => return payload == b"hello",
            // Settings and a ping, acknowledged.
            4 | 6 if flags & 1 == 0 => {
                let length = if kind == 4 { 0 } else { 8 };
                let mut answer = vec![0, 0, length, kind, 1, 0, 0, 0, 0];
                answer.extend(&payload[..usize::from(length)]);
                let _ = stream.write_all(&answer).await;
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_head_at_that_moment_may_come_to_its_end() {
    for stack in Stack::ALL {
        for first in [false, true] {
            let connections = Connections::new();
            let (addr, _server) = stack.serve(&connections).await;
            let mut client = Polite::connect(addr).await;
            if !first {
                client.ask(GET).await.unwrap();
            }
            let read = if first { 0 } else { GET.len() as u64 };
            client.stream.write_all(&GET[..9]).await.unwrap();
            while connections
                .snapshot(0, 1)
                .iter()
                .all(|it| it.bytes_read < read + 9)
            {
                sleep(MILLI).await;
            }
            let drain = tokio::spawn(connections.drain(LONG));
            // Longer than the linger.
            sleep(LINGER + LINGER / 2).await;
            let answer = client.ask(&GET[9..]).await;
            assert!(answer.is_some() && client.told, "{stack:?}: lost");
            let report = drain.await.unwrap();
            assert_eq!((report.graceful, report.forced), (1, 0), "{stack:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_got_an_answer_that_had_begun_is_told_with_the_next() {
    for stack in Stack::ALL {
        let connections = Connections::new();
        let (addr, _server) = stack.serve(&connections).await;
        let mut client = Polite::connect(addr).await;
        let request = b"GET /drip/1500 HTTP/1.1\r\nhost: x\r\n\r\n";
        client.stream.write_all(request).await.unwrap();
        // The head is out.
        while connections
            .snapshot(0, 1)
            .iter()
            .all(|it| it.bytes_written == 0)
        {
            sleep(MILLI).await;
        }
        let drain = tokio::spawn(connections.drain(LONG));
        assert!(client.answer().await.is_some(), "{stack:?}");
        assert!(!client.told, "{stack:?}: the head was out");
        sleep(500 * MILLI).await;
        assert!(client.ask(GET).await.is_some(), "{stack:?}: lost");
        assert!(client.told, "{stack:?}");
        let report = drain.await.unwrap();
        assert_eq!((report.graceful, report.forced), (1, 0), "{stack:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stays_silent_is_closed_after_the_linger_and_was_not_cut() {
    for stack in Stack::ALL {
        let connections = Connections::new();
        let (addr, _server) = stack.serve(&connections).await;
        let mut idle = Polite::connect(addr).await;
        idle.ask(GET).await.unwrap();
        let mut silent = Polite::connect(addr).await;
        while connections.len() < 2 {
            sleep(MILLI).await;
        }
        let report = connections.drain(LONG).await;
        assert_eq!((report.graceful, report.forced), (2, 0), "{stack:?}");
        assert!(report.took >= LINGER, "{stack:?}: {report}");
        assert!(report.took < 5 * LINGER, "{stack:?}: {report}");
        idle.ended().await;
        silent.ended().await;

        // The deadline comes first.
        let connections = Connections::new();
        let (addr, _server) = stack.serve(&connections).await;
        let mut idle = Polite::connect(addr).await;
        idle.ask(GET).await.unwrap();
        let report = connections.drain(100 * MILLI).await;
        assert_eq!((report.graceful, report.forced), (1, 0), "{stack:?}");
        assert!(report.took < LINGER, "{stack:?}: {report}");
        idle.ended().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_shortens_a_wait_that_goes_on() {
    for stack in Stack::ALL {
        let connections = Connections::new();
        let (addr, _server) = stack.serve(&connections).await;
        let mut idle = Polite::connect(addr).await;
        idle.ask(GET).await.unwrap();
        let id = connections.snapshot(0, 1)[0].id;
        assert!(connections.close(id));
        sleep(100 * MILLI).await;
        let connection = connections.get(id).expect("waits for the grace");
        assert_eq!(connection.close_reason(), Some(CloseReason::Manual));
        let report = connections.drain(LONG).await;
        assert!(report.took < 5 * LINGER, "{stack:?}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shutdown_of_a_framework_after_the_drain_loses_nothing() {
    for tonic in [false, true] {
        let connections = Connections::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = connections.clone();
        let serving = tokio::spawn(async move {
            let stop = shared.drained();
            if tonic {
                tonic::transport::Server::builder()
                    .accept_http1(true)
                    .layer(shared.layer())
                    .add_routes(tonic::service::Routes::from(stacks::app()))
                    .serve_with_incoming_shutdown(shared.incoming(listener), stop)
                    .await
                    .unwrap();
            } else {
                let make = shared.make_service(stacks::app().into_make_service());
                axum::serve(shared.listener(listener), make)
                    .with_graceful_shutdown(stop)
                    .await
                    .unwrap();
            }
        });
        let mut client = Polite::connect(addr).await;
        assert!(client.ask(GET).await.is_some());
        let drain = tokio::spawn(connections.drain(LONG));
        sleep(400 * MILLI).await;
        assert!(client.ask(GET).await.is_some(), "tonic {tonic}: lost");
        assert!(client.told, "tonic {tonic}");
        assert_eq!(drain.await.unwrap().forced, 0);
        let ended = timeout(LONG, serving).await;
        ended.expect("the server ends").unwrap();
    }
}

// One thread: nothing is accepted between the connects and the stop.
#[tokio::test]
async fn what_the_kernel_has_accepted_is_served_when_the_server_stops() {
    let connections = Connections::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = connections.server();
    let serving = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        server.serve(listener, stacks::app(), stopped).await
    });
    tokio::task::yield_now().await;
    let streams: Vec<_> = (0..40)
        .map(|_| std::net::TcpStream::connect(addr).unwrap())
        .collect();
    stop.send(()).unwrap();
    let begun = Instant::now();
    let mut answered = 0;
    for stream in streams {
        stream.set_nonblocking(true).unwrap();
        let mut client = Polite {
            stream: TcpStream::from_std(stream).unwrap(),
            told: false,
        };
        sleep(2 * MILLI).await;
        answered += usize::from(client.ask(GET).await.is_some());
    }
    assert_eq!(answered, 40, "after {:?}", begun.elapsed());
    // Some may have left by then.
    let report = serving.await.unwrap();
    assert_eq!((report.forced, report.left), (0, 0), "{report}");
    std::net::TcpStream::connect(addr).unwrap_err();
}

/// hyper drops a body that is there as a whole as soon as it has it: nothing is in flight then,
/// and most of it is not written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_written_to_its_end_however_slowly_it_is_read() {
    const BYTES: usize = 16 * 1024 * 1024;
    for stack in Stack::ALL {
        for drains in [true, false] {
            let builder = Connections::builder().grace_timeout(500 * MILLI);
            let builder = builder.check_interval(50 * MILLI).max_age(300 * MILLI);
            let connections = builder.build().unwrap();
            let whole = axum::routing::get(async || vec![b'.'; BYTES]);
            let app = axum::Router::new().route("/whole", whole);
            let (addr, _server) = stack.serve_app(&connections, app).await;
            let mut stream = TcpStream::connect(addr).await.unwrap();
            let request = b"GET /whole HTTP/1.1\r\nhost: x\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut seen = vec![0; 1024];
            let mut got = stream.read(&mut seen).await.unwrap();
            let drain = drains.then(|| tokio::spawn(connections.drain(LONG)));
            // Longer than the linger, and the grace.
            sleep(LINGER + 1_000 * MILLI).await;
            let mut buffer = vec![0; 64 * 1024];
            while got < BYTES {
                let read = timeout(LONG, stream.read(&mut buffer)).await;
                let read = read.expect("it goes on").unwrap_or(0);
                assert!(read > 0, "{stack:?}: cut after {got} of {BYTES}");
                got += read;
            }
            if let Some(drain) = drain {
                drop(stream);
                let report = drain.await.unwrap();
                assert_eq!((report.forced, report.lost), (0, 0), "{stack:?}");
            }
        }
    }
}
