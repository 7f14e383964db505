//! The limits that count, the events, the metrics, and `/connections`.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;
use tower_ops_connections::{
    CloseReason, ConnectionEvent, Connections, Listener, OnLimit, Peer, RejectReason, Tracked,
};

#[path = "support/stacks.rs"]
mod stacks;
use stacks::Stack;

const SECOND: Duration = Duration::from_secs(1);

fn peer(last: u8) -> Peer {
    SocketAddr::from(([192, 0, 2, last], 4_711)).into()
}

/// A connection without a server, and its client's end.
async fn open(connections: &Connections, peer: Peer) -> (Tracked<DuplexStream>, DuplexStream) {
    let (server, client) = duplex(1024);
    (connections.accept(server, peer).await.unwrap(), client)
}

#[tokio::test(start_paused = true)]
async fn as_many_connections_as_there_may_be_and_the_next_one_waits() {
    let connections = Connections::builder().max_connections(2).build().unwrap();
    let first = open(&connections, peer(1)).await;
    let _second = open(&connections, peer(1)).await;
    let waiting = timeout(SECOND, connections.room());
    assert!(waiting.await.is_err(), "there is no room");
    drop(first);
    timeout(SECOND, open(&connections, peer(1))).await.unwrap();
}

/// On every stack: each has two listeners of which one is idle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_without_connections_takes_no_room_from_another() {
    for stack in Stack::ALL {
        let connections = Connections::builder().max_connections(1).build().unwrap();
        let (first, _first) = stack.serve(&connections).await;
        let (second, _second) = stack.serve(&connections).await;
        // Both wait for connections.
        sleep(SECOND / 10).await;
        for round in 0..10 {
            let addr = if round % 3 == 0 { first } else { second };
            let mut stream = TcpStream::connect(addr).await.unwrap();
            // Waits in the kernel's queue, and is served when there is room.
            let other = if round % 2 == 0 { first } else { second };
            let mut waiting = TcpStream::connect(other).await.unwrap();
            let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            waiting.write_all(request).await.unwrap();
            if round == 0 {
                let early = timeout(SECOND / 10, waiting.read(&mut [0])).await;
                assert!(early.is_err(), "{stack:?}: no room");
                assert_eq!(connections.len(), 1, "{stack:?}");
            }
            stream.write_all(request).await.unwrap();
            for stream in [stream, waiting] {
                let mut stream = stream;
                let mut answer = String::new();
                let read = timeout(10 * SECOND, stream.read_to_string(&mut answer)).await;
                read.expect("room").unwrap();
                assert!(answer.ends_with("hello"), "{stack:?}: {answer}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn or_is_refused_and_counted() {
    let refused = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&refused);
    let connections = Connections::builder()
        .max_connections(1)
        .on_limit(OnLimit::Reject)
        .on_event(move |event| {
            if let ConnectionEvent::Rejected(peer, reason) = event {
                log.lock().unwrap().push((*peer, *reason));
            }
        })
        .build()
        .unwrap();
    let _first = open(&connections, peer(1)).await;
    let (server, mut client) = duplex(8);
    let refusal = connections.accept(server, peer(2)).await.unwrap_err();
    assert_eq!(refusal, RejectReason::MaxConnections);
    assert_eq!(
        client.read(&mut [0]).await.unwrap(),
        0,
        "it is closed at once"
    );
    assert_eq!(
        *refused.lock().unwrap(),
        [(peer(2), RejectReason::MaxConnections)]
    );
}

#[tokio::test(start_paused = true)]
async fn one_address_has_its_share_and_gets_it_back() {
    let connections = Connections::builder().max_per_ip(2).build().unwrap();
    let first = open(&connections, peer(1)).await;
    let _second = open(&connections, peer(1)).await;
    let refusal = connections.accept(duplex(8).0, peer(1)).await.unwrap_err();
    assert_eq!(refusal, RejectReason::MaxPerIp);
    let _other = open(&connections, peer(2)).await;
    let _unix = open(&connections, Peer::Unix).await;
    drop(first);
    let _third = open(&connections, peer(1)).await;
    connections.accept(duplex(8).0, peer(1)).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_is_closed_and_not_all_at_once() {
    let age = 100 * SECOND;
    let connections = Connections::builder()
        .first_byte_timeout(None)
        .max_age(age)
        .max_age_jitter(0.2)
        .check_interval(SECOND)
        .build()
        .unwrap();
    let mut open_ones = Vec::new();
    let mut ages = Vec::new();
    let begun = Instant::now();
    for _ in 0..50 {
        let (io, client) = open(&connections, peer(1)).await;
        let closing = io.connection().closing();
        ages.push(tokio::spawn(async move {
            assert_eq!(closing.await, CloseReason::MaxAge);
            begun.elapsed()
        }));
        open_ones.push((io, client));
    }
    let ages: Vec<_> = futures_util::future::try_join_all(ages).await.unwrap();
    let (youngest, oldest) = (ages.iter().min().unwrap(), ages.iter().max().unwrap());
    assert!(*youngest >= 80 * SECOND, "{youngest:?}");
    assert!(*oldest <= 122 * SECOND, "{oldest:?}");
    assert!(
        *oldest > *youngest + 5 * SECOND,
        "{youngest:?} to {oldest:?}"
    );
}

#[tokio::test]
async fn the_last_request_of_a_connection_says_so() {
    for stack in Stack::ALL {
        let connections = Connections::builder().max_requests(2).build().unwrap();
        let (addr, _server) = stack.serve(&connections).await;
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let twice = b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(twice).await.unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();
        let answers = answers.to_ascii_lowercase();
        assert_eq!(answers.matches("hello").count(), 2, "{stack:?} {answers}");
        let said = answers.find("connection: close").expect("said");
        assert!(said > answers.find("hello").unwrap(), "{stack:?} {answers}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_held_connection_is_not_idle() {
    let connections = Connections::builder()
        .first_byte_timeout(None)
        .build()
        .unwrap();
    let (io, _client) = open(&connections, peer(1)).await;
    let connection = io.connection().clone();
    let held = connection.busy();
    sleep(1_000 * SECOND).await;
    assert_eq!(connection.close_reason(), None);
    drop(held);
    sleep(302 * SECOND).await;
    assert_eq!(connection.close_reason(), Some(CloseReason::Idle));
}

#[tokio::test]
async fn the_metrics_add_up_and_the_gauges_go_back() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let connections = Connections::builder()
        .recorder(Arc::new(recorder))
        .build()
        .unwrap();
    let web = connections.named("web");
    let (addr, _server) = Stack::Own.serve(&web).await;
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        stream.read_buf(&mut answer).await.unwrap();
    }
    let own = snapshotter.snapshot().into_vec();
    let active = own.iter().find(|(key, ..)| {
        key.key().name() == "server_active_connections"
            && key.key().labels().any(|label| label.value() == "http1")
            && key.key().labels().any(|label| label.value() == "web")
    });
    assert!(matches!(active, Some((.., DebugValue::Gauge(one))) if one.into_inner() == 1.0));
    drop(stream);
    while !connections.is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    while !connections.is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    // One look at the recorder takes all that is counted.
    let seen = snapshotter.snapshot().into_vec();
    let counted = |name: &str, label: &str| -> f64 {
        let found = seen.iter().filter(|(key, ..)| {
            key.key().name() == name && key.key().labels().any(|it| it.value() == label)
        });
        found
            .map(|(.., value)| match value {
                DebugValue::Counter(count) => *count as f64,
                DebugValue::Gauge(gauge) => gauge.into_inner(),
                DebugValue::Histogram(samples) => samples.len() as f64,
            })
            .sum()
    };
    // The recorder began anew after it was looked at, with one that was open.
    assert_eq!(counted("server_active_connections", "web"), -1.0);
    assert_eq!(
        counted("server_connections_closed_total", "client_closed"),
        1.0
    );
    assert_eq!(
        counted("server_connections_closed_total", "server_closed"),
        1.0
    );
    assert_eq!(counted("server_connection_duration_seconds", "http1"), 2.0);
    assert_eq!(
        counted("server_connection_bytes_total", "read"),
        27.0 + 46.0
    );
}

#[tokio::test]
async fn the_service_lists_shows_and_closes() {
    let connections = Connections::new();
    let mut open_ones = Vec::new();
    for last in 1..=3 {
        open_ones.push(open(&connections, peer(last)).await);
    }
    let ids: Vec<_> = open_ones
        .iter()
        .map(|(io, _)| io.connection().id())
        .collect();
    let service = connections
        .service()
        .with_details_if(|parts| parts.headers.contains_key("x-operator"))
        .with_close_if(|parts| parts.headers.contains_key(header::AUTHORIZATION));
    let ask = |method: Method, path: String, operator: bool| {
        let mut request = Request::builder().method(method).uri(path);
        if operator {
            request = request
                .header("x-operator", "yes")
                .header(header::AUTHORIZATION, "yes");
        }
        let answer = service.clone().oneshot(request.body(()).unwrap());
        async move {
            let (head, body) = answer.await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            (head.status, String::from_utf8(body.to_vec()).unwrap())
        }
    };
    let list = |query: &str, operator| ask(Method::GET, format!("/connections{query}"), operator);

    let (status, text) = list("?limit=2", false).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        text.contains("\"open\":3") && text.contains(&format!("\"next\":{}", ids[1])),
        "{text}"
    );
    assert!(
        !text.contains("192.0.2.1") && text.contains("\"peer\":null"),
        "{text}"
    );
    let (_, text) = list(&format!("?after={}", ids[1]), true).await;
    assert!(
        text.contains("192.0.2.3") && !text.contains("192.0.2.1"),
        "{text}"
    );
    for bad in ["?limit=0", "?after=x", "?other=1"] {
        assert_eq!(list(bad, true).await.0, StatusCode::BAD_REQUEST, "{bad}");
    }

    let one = |method: Method, operator| ask(method, format!("/connections/{}", ids[0]), operator);
    let (status, text) = one(Method::GET, true).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        text.contains("\"protocol\":\"unknown\"") && text.contains("192.0.2.1"),
        "{text}"
    );
    assert_eq!(
        one(Method::POST, true).await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(one(Method::DELETE, false).await.0, StatusCode::UNAUTHORIZED);
    let connection = connections.get(ids[0]).unwrap();
    assert_eq!(connection.close_reason(), None);
    let (status, text) = one(Method::DELETE, true).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert!(text.contains("\"closing\":\"manual\""), "{text}");
    assert_eq!(connection.close_reason(), Some(CloseReason::Manual));

    let nowhere = ask(Method::GET, "/connections/999".into(), true).await;
    assert_eq!(nowhere.0, StatusCode::NOT_FOUND);
    let no_number = ask(Method::DELETE, "/connections/x".into(), true).await;
    assert_eq!(no_number.0, StatusCode::BAD_REQUEST);
    let closed = connections.service().oneshot(
        Request::delete(format!("/connections/{}", ids[1]))
            .body(())
            .unwrap(),
    );
    assert_eq!(closed.await.unwrap().status(), StatusCode::FORBIDDEN);
}

#[cfg(unix)]
#[tokio::test]
async fn unix_sockets_are_tracked_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let connections = Connections::builder().max_per_ip(1).build().unwrap();
    let server = connections.server();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        server.serve(listener, stacks::app(), stopped).await
    });
    let mut first = tokio::net::UnixStream::connect(&path).await.unwrap();
    let mut second = tokio::net::UnixStream::connect(&path).await.unwrap();
    for stream in [&mut first, &mut second] {
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
        }
    }
    assert_eq!(connections.snapshot(0, 1)[0].peer, Some(Peer::Unix));
    stop.send(()).unwrap();
    let report = serving.await.unwrap();
    assert_eq!((report.graceful, report.forced), (2, 0), "{report}");
}

/// Out of file descriptors until some time, with connections before that.
struct Short {
    streams: Vec<DuplexStream>,
    until: Instant,
}

impl Listener for Short {
    type Io = DuplexStream;

    async fn next(&mut self) -> io::Result<(DuplexStream, Peer)> {
        if let Some(stream) = self.streams.pop() {
            return Ok((stream, Peer::Unknown));
        }
        if Instant::now() < self.until {
            return Err(io::Error::other("too many open files"));
        }
        Ok((duplex(8).0, Peer::Unknown))
    }

    fn address(&self) -> String {
        "short".into()
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_end_do_not_delay_the_first_accept_after_a_shortage() {
    let (streams, clients): (Vec<_>, Vec<_>) = (0..100).map(|_| duplex(8)).unzip();
    let until = Instant::now() + 10 * SECOND;
    let (opened, mut first) = tokio::sync::watch::channel(0);
    let connections = Connections::builder()
        .max_connections(101)
        .on_event(move |event| {
            if let ConnectionEvent::Opened(_) = event {
                opened.send_modify(|it| *it += 1);
            }
        })
        .build()
        .unwrap();
    let server = connections.server();
    let serving = tokio::spawn(async move {
        let never = std::future::pending();
        let _ = server
            .serve(Short { streams, until }, stacks::app(), never)
            .await;
    });
    let ending = tokio::spawn(async move {
        for client in clients {
            sleep(2 * SECOND / 5).await;
            drop(client);
        }
    });
    first.wait_for(|count| *count > 100).await.unwrap();
    let late = Instant::now().duration_since(until);
    assert!(late <= SECOND, "{late:?}");
    serving.abort();
    ending.abort();
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing_behind() {
    let connections = Connections::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let never = std::future::pending();
    let serving = connections.server().serve(listener, stacks::app(), never);
    let mut stream = {
        let mut serving = std::pin::pin!(serving);
        let connecting = async {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            let request = b"GET /slow/60000 HTTP/1.1\r\nhost: x\r\n\r\n";
            stream.write_all(request).await.unwrap();
            while connections
                .snapshot(0, 1)
                .iter()
                .all(|it| it.in_flight == 0)
            {
                sleep(Duration::from_millis(1)).await;
            }
            stream
        };
        tokio::select! {
            _ = &mut serving => unreachable!("it serves for ever"),
            stream = connecting => stream,
        }
    };
    let _ = stream.read(&mut [0]).await;
    while !connections.is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn the_builder_names_every_problem() {
    let error = Connections::builder()
        .first_byte_timeout(Duration::ZERO)
        .header_timeout(Duration::ZERO)
        .idle_timeout(Duration::ZERO)
        .stall_timeout(Duration::ZERO)
        .max_age(Duration::ZERO)
        .check_interval(Duration::ZERO)
        .max_age_jitter(f64::NAN)
        .max_requests(0)
        .max_connections(0)
        .max_per_ip(0)
        .build()
        .unwrap_err();
    assert_eq!(error.problems().len(), 10, "{error}");
}
