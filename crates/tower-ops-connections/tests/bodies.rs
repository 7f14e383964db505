//! The bodies of requests, on every stack, over real sockets: who waits for whom, and
//! what a body that nobody reads is taken for.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::future::join_all;
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tower_ops_connections::{CloseReason, ConnectionEvent, Connections};

#[allow(dead_code, reason = "not every test gets")]
#[path = "support/reader.rs"]
mod frames;
#[allow(dead_code, reason = "only how the stacks serve")]
#[path = "support/stacks.rs"]
mod stacks;
use frames::{Client as Http2, DATA, END_STREAM};
use stacks::Stack;

const LIMIT: Duration = Duration::from_secs(1);
const PASS: Duration = Duration::from_millis(100);
/// For what must happen, however busy the machine is.
const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Clone)]
struct Served {
    stack: Stack,
    addr: SocketAddr,
    connections: Connections,
    closed: Arc<Mutex<Vec<CloseReason>>>,
    /// How much the task of `/accept` has read.
    accepted: Arc<AtomicUsize>,
}

async fn serve(stack: Stack) -> Served {
    let closed = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&closed);
    let connections = Connections::builder()
        .header_timeout(LIMIT)
        .stall_timeout(LIMIT)
        .idle_timeout(20 * LIMIT)
        .check_interval(PASS)
        .on_event(move |event| {
            if let ConnectionEvent::Closed { reason, .. } = event {
                log.lock().unwrap().push(*reason);
            }
        })
        .build()
        .unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    let app = Router::new()
        .route("/", get(async || "hello"))
        .route("/read", post(async |body: Bytes| body.len().to_string()))
        .route("/think/{ms}", post(think))
        .route("/glance", post(glance))
        .route("/ignore/{ms}", post(ignore))
        .route(
            "/accept",
            post(async move |mut body: Body| {
                tokio::spawn(async move {
                    while let Some(Ok(frame)) = body.frame().await {
                        let length = frame.data_ref().map_or(0, Bytes::len);
                        counter.fetch_add(length, Ordering::SeqCst);
                    }
                });
                StatusCode::ACCEPTED
            }),
        );
    let (addr, _) = stack.serve_app(&connections, app).await;
    Served {
        stack,
        addr,
        connections,
        closed,
        accepted,
    }
}

/// Polls the body once, works, and reads it.
async fn think(Path(ms): Path<u64>, mut body: Body) -> String {
    let mut length = 0;
    let first = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut body.frame()).poll(cx)));
    if let Poll::Ready(Some(Ok(frame))) = first.await {
        length = frame.data_ref().map_or(0, Bytes::len);
    }
    sleep(Duration::from_millis(ms)).await;
    let rest = body.collect().await.unwrap().to_bytes();
    (length + rest.len()).to_string()
}

/// Looks for the body again and again, between other work.
async fn glance(mut body: Body) -> String {
    let mut length = 0;
    loop {
        tokio::select! {
            frame = body.frame() => match frame {
                Some(Ok(frame)) => length += frame.data_ref().map_or(0, Bytes::len),
                _ => return length.to_string(),
            },
            () = sleep(LIMIT / 20) => {}
        }
    }
}

/// Has the body, and does not read it.
async fn ignore(Path(ms): Path<u64>, body: Body) -> &'static str {
    sleep(Duration::from_millis(ms)).await;
    drop(body);
    "ignored"
}

/// A client of HTTP/1, by hand.
struct Client {
    stream: TcpStream,
    served: Served,
}

impl Client {
    async fn connect(served: &Served) -> Self {
        let stream = TcpStream::connect(served.addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            served: served.clone(),
        }
    }

    async fn send(&mut self, text: impl AsRef<[u8]>) {
        let sent = self.stream.write_all(text.as_ref()).await;
        sent.unwrap_or_else(|error| panic!("{:?}: {error}", self.served.stack));
    }

    async fn post(&mut self, path: &str, more: &str) {
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{more}\r\n\r\n");
        self.send(head).await;
    }

    /// Reads until there is such an end.
    async fn answer(&mut self, end: &str) -> String {
        let mut seen = Vec::new();
        while !seen.ends_with(end.as_bytes()) {
            let read = timeout(DEADLINE, self.stream.read_buf(&mut seen)).await;
            let read = read.unwrap_or_else(|_| panic!("{:?}: no {end:?}", self.served.stack));
            let text = String::from_utf8_lossy(&seen);
            assert!(
                matches!(read, Ok(1..)),
                "{:?}: no {end:?} in {text:?}, {:?}",
                self.served.stack,
                self.served.closed.lock().unwrap()
            );
        }
        String::from_utf8(seen).unwrap()
    }

    async fn closes_as(mut self, reason: CloseReason) {
        let begun = Instant::now();
        let mut rest = Vec::new();
        let _ = timeout(DEADLINE, self.stream.read_to_end(&mut rest)).await;
        let took = begun.elapsed();
        let stack = self.served.stack;
        assert!(took < DEADLINE, "{stack:?}: never closed");
        let closed = async {
            while self.served.closed.lock().unwrap().is_empty() {
                sleep(PASS / 10).await;
            }
        };
        timeout(DEADLINE, closed).await.unwrap();
        assert_eq!(*self.served.closed.lock().unwrap(), [reason], "{stack:?}");
    }
}

/// On each stack at once, with a server of its own for each case.
async fn on_every_stack<F: Future<Output = ()>>(case: impl Fn(Served) -> F) {
    join_all(Stack::ALL.map(|stack| {
        let case = &case;
        async move { case(serve(stack).await).await }
    }))
    .await;
}

const LONG: u64 = 2_500;

#[tokio::test]
async fn a_handler_that_works_once_the_body_is_there_is_not_a_client_that_stalls() {
    on_every_stack(async |served| {
        for (more, body) in [
            ("content-length: 5", "hello"),
            ("transfer-encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
        ] {
            let mut client = Client::connect(&served).await;
            client.post(&format!("/think/{LONG}"), more).await;
            sleep(LIMIT / 10).await;
            client.send(body).await;
            client.answer("\r\n\r\n5").await;
        }
        let mut client = Client::connect(&served).await;
        let more = "expect: 100-continue\r\ncontent-length: 5";
        client.post(&format!("/think/{LONG}"), more).await;
        client.answer("100 Continue\r\n\r\n").await;
        client.send("hello").await;
        client.answer("\r\n\r\n5").await;
    })
    .await;
}

#[tokio::test]
async fn a_body_that_trickles_and_never_pauses_is_innocent() {
    on_every_stack(async |served| {
        join_all(["/read", "/glance", "/think/300"].map(async |path| {
            let mut client = Client::connect(&served).await;
            client.post(path, "content-length: 6").await;
            for _ in 0..6 {
                sleep(LIMIT / 2).await;
                client.send("x").await;
            }
            client.answer("\r\n\r\n6").await;
        }))
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_request_is_not_judged_by_the_one_before_it() {
    on_every_stack(async |served| {
        let mut client = Client::connect(&served).await;
        for _ in 0..4 {
            client.post("/read", "content-length: 1").await;
            sleep(LIMIT * 6 / 10).await;
            client.send("x").await;
            client.answer("\r\n\r\n1").await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_send_its_body_is_stalled() {
    for (path, more, begin) in [
        ("/read", "content-length: 5", ""),
        ("/read", "content-length: 5", "hel"),
        ("/glance", "content-length: 5", "hel"),
        ("/read", "transfer-encoding: chunked", "5"),
        (
            "/read",
            "transfer-encoding: chunked",
            "5\r\nhello\r\n0\r\nx-",
        ),
        ("/accept", "content-length: 5", "hel"),
    ] {
        on_every_stack(async |served| {
            let mut client = Client::connect(&served).await;
            client.post(path, more).await;
            sleep(LIMIT / 10).await;
            client.send(begin).await;
            client.closes_as(CloseReason::Stalled).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_stream_of_http2_may_be_silent() {
    on_every_stack(async |served| {
        let mut client = Http2::connect(served.addr, 65_535).await;
        client.post(1, "/read").await;
        sleep(3 * LIMIT).await;
        client.send(DATA, END_STREAM, 1, b"hello").await;
        let read = timeout(DEADLINE, client.read_to_end(1)).await;
        assert_eq!(read.unwrap(), 1, "{:?}", served.stack);
    })
    .await;
}

#[tokio::test]
async fn a_body_that_nobody_read_is_no_head() {
    on_every_stack(async |served| {
        let mut client = Client::connect(&served).await;
        for _ in 0..2 {
            // It comes after the exchange began, and is read after it ended: hyper
            // reads only a piece ahead.
            for (more, pieces) in [
                ("content-length: 5", ["hello", ""]),
                ("content-length: 5", ["h", "ello"]),
                (
                    "transfer-encoding: chunked",
                    ["5\r\nhello\r\n", "0\r\n\r\n"],
                ),
                (
                    "transfer-encoding: chunked",
                    ["5\r\nhello\r\n", "0\r\nx-trailer: x\r\n\r\n"],
                ),
            ] {
                client.post("/ignore/300", more).await;
                for piece in pieces {
                    sleep(LIMIT / 10).await;
                    client.send(piece).await;
                }
                client.answer("ignored").await;
            }
            sleep(2 * LIMIT).await;
        }
        client.send("GET / HT").await;
        client.closes_as(CloseReason::HeaderTimeout).await;
    })
    .await;
}

#[tokio::test]
async fn nor_is_an_empty_line_behind_a_body() {
    on_every_stack(async |served| {
        let mut client = Client::connect(&served).await;
        client.post("/read", "content-length: 5").await;
        client.send("hello").await;
        client.answer("\r\n\r\n5").await;
        client.send("\r\n").await;
        sleep(2 * LIMIT).await;
        client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        client.answer("hello").await;
        client.send("\r\nGET / HT").await;
        client.closes_as(CloseReason::HeaderTimeout).await;
    })
    .await;
}

#[tokio::test]
async fn a_body_of_which_too_much_is_left_ends_the_connection_in_order() {
    on_every_stack(async |served| {
        let mut client = Client::connect(&served).await;
        client
            .post("/ignore/300", "transfer-encoding: chunked")
            .await;
        sleep(LIMIT / 10).await;
        client.send("5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\n").await;
        client.answer("ignored").await;
        // hyper reads a chunk ahead and another one, and gives up.
        client.closes_as(CloseReason::ServerClosed).await;
    })
    .await;
}

#[tokio::test]
async fn an_exchange_lasts_as_long_as_its_request_is_read() {
    on_every_stack(async |served| {
        let stack = served.stack;
        let mut client = Client::connect(&served).await;
        client.post("/accept", "content-length: 6").await;
        client.send("x").await;
        client.answer("\r\n\r\n").await;
        for _ in 0..5 {
            sleep(LIMIT / 2).await;
            let open = served.connections.snapshot(0, 1);
            assert_eq!(open[0].in_flight, 1, "{stack:?}");
            client.send("x").await;
        }
        let done = async {
            while served.connections.snapshot(0, 1)[0].in_flight > 0 {
                sleep(PASS / 10).await;
            }
        };
        timeout(DEADLINE, done).await.unwrap();
        assert_eq!(served.accepted.load(Ordering::SeqCst), 6, "{stack:?}");
        // And what follows is an exchange as any other.
        client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        client.answer("hello").await;
        let mut client = Http2::connect(served.addr, 65_535).await;
        client.post(1, "/accept").await;
        client.read_to_end(1).await;
        sleep(LIMIT / 2).await;
        let open = served.connections.snapshot(0, 2);
        assert_eq!(open.last().unwrap().in_flight, 1, "{stack:?}");
        client.send(DATA, END_STREAM, 1, b"hello").await;
        let done = async {
            while served.accepted.load(Ordering::SeqCst) < 11 {
                sleep(PASS / 10).await;
            }
        };
        timeout(DEADLINE, done).await.unwrap();
    })
    .await;
}
