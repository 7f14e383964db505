//! What a client that does not read makes a server hold on HTTP/2: each of the four
//! stacks as a process of its own, by its resident memory.
//!
//! ```text
//! cargo test --release -p tower-ops-connections --all-features --test unread -- \
//!     --ignored --nocapture --skip serves
//! ```
//!
//! `UNREAD_ONLY=/messages/65536` measures that path alone.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::convert::Infallible;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::{get, post};
use bytes::{BufMut, Bytes};
use futures_util::stream;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;
use tonic::codec::{EncodeBody, EncodeBuf, Encoder, SingleMessageCompressionOverride};
use tower_ops_connections::{Acceptor, Connections};

#[path = "support/reader.rs"]
mod frames;
#[allow(dead_code, reason = "only how the stacks serve")]
#[path = "support/stacks.rs"]
mod stacks;
use frames::{ACK, Client, DATA, END_STREAM, SETTINGS};
use stacks::Stack;

const MIB: usize = 1024 * 1024;
const STREAMS: u32 = 200;
const DEADLINE: Duration = Duration::from_secs(60);
/// What one of a hundred connections may make the server hold, and what one alone.
const EACH: usize = 2 * MIB;
const ALONE: usize = 4 * MIB;

fn app() -> Router {
    Router::new()
        .route("/", get(async || "hello"))
        .route("/chunks/{size}/{count}", get(chunks))
        .route("/messages/{size}", get(messages))
        .route("/unary", post(unary))
        .route("/keep", post(keep))
}

/// Messages of gRPC without an end, as tonic encodes them.
async fn messages(Path(size): Path<usize>) -> Body {
    let messages = stream::repeat_with(move || Ok(vec![b'.'; size]));
    let no_override = SingleMessageCompressionOverride::default();
    Body::new(EncodeBody::new_server(
        Raw,
        messages,
        None,
        no_override,
        None,
    ))
}

struct Raw;

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

/// A message, and its answer with trailers.
async fn unary(body: Bytes) -> Body {
    let message = stream::once(async move { Ok(body.to_vec()) });
    let no_override = SingleMessageCompressionOverride::default();
    let message = Box::pin(message);
    Body::new(EncodeBody::new_server(
        Raw,
        message,
        None,
        no_override,
        None,
    ))
}

/// Chunks of their own, made when they are polled.
async fn chunks(Path((size, count)): Path<(usize, u64)>) -> Body {
    Body::from_stream(stream::unfold(0, move |sent| async move {
        (sent < count).then(|| (Ok::<_, Infallible>(Bytes::from(vec![b'.'; size])), sent + 1))
    }))
}

/// Does not read what it is sent.
async fn keep(body: Body) {
    sleep(DEADLINE * 10).await;
    drop(body);
}

/// The server's side: a process of its own, until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of the others"]
async fn serves() {
    let Ok(stack) = std::env::var("UNREAD_STACK") else {
        return;
    };
    let connections = Connections::new();
    let addr = match Stack::ALL.into_iter().find(|it| format!("{it:?}") == stack) {
        Some(stack) => stack.serve_app(&connections, app()).await.0,
        None => bare().await,
    };
    let file = std::env::var("UNREAD_ADDR").unwrap();
    std::fs::write(format!("{file}.new"), addr.to_string()).unwrap();
    std::fs::rename(format!("{file}.new"), file).unwrap();
    std::future::pending::<()>().await;
}

/// What the figures are compared with: hyper alone, on sockets set in the same way.
async fn bare() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut acceptor = Acceptor::new(listener);
    tokio::spawn(async move {
        loop {
            let (stream, _) = acceptor.accept().await;
            let service = TowerToHyperService::new(app());
            tokio::spawn(async move {
                let http = auto::Builder::new(TokioExecutor::new());
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    addr
}

struct Server {
    child: Child,
    addr: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Server {
    async fn start(stack: impl Debug) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("addr");
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "serves"])
            .env("UNREAD_STACK", format!("{stack:?}"))
            .env("UNREAD_ADDR", &file)
            // Every byte that is freed is given back: what is counted is what is held.
            .env("MALLOC_TRIM_THRESHOLD_", "0")
            .spawn()
            .unwrap();
        let deadline = Instant::now() + DEADLINE;
        let addr = loop {
            if let Ok(addr) = std::fs::read_to_string(&file) {
                break addr.parse().unwrap();
            }
            assert!(Instant::now() < deadline, "{stack:?} does not start");
            sleep(Duration::from_millis(10)).await;
        };
        let server = Self {
            child,
            addr,
            _directory: directory,
        };
        // Once, so that what is allocated only once is not counted.
        server.answers().await;
        server
    }

    /// Another client is served meanwhile.
    async fn answers(&self) {
        for _ in 0..20 {
            let mut client = Client::connect(self.addr, u32::MAX >> 1).await;
            client.get(1, "/").await;
            let read = timeout(DEADLINE, client.read_to_end(1)).await;
            assert_eq!(read.unwrap(), 5);
        }
    }

    /// In bytes, once it grows no more.
    async fn resident(&self) -> usize {
        let mut last = 0;
        loop {
            sleep(Duration::from_millis(300)).await;
            let now = self.resident_now();
            if now.abs_diff(last) < 64 * 1024 {
                return now;
            }
            last = now;
        }
    }

    fn resident_now(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|it| it.starts_with("VmRSS:")).unwrap();
        let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens the streams, and reads nothing.
async fn unread(addr: SocketAddr, path: &str) -> Client {
    let mut client = Client::connect(addr, u32::MAX >> 1).await;
    for stream in 0..STREAMS {
        client.get(2 * stream + 1, path).await;
    }
    client
}

#[tokio::test]
#[ignore = "measures memory; see above"]
async fn a_client_that_never_reads_makes_no_stack_hold_more_than_its_bound() {
    let mut too_much = Vec::new();
    for stack in Stack::ALL {
        let sizes = [1, 10, 100, 4 * 1024, 64 * 1024, MIB];
        let chunks = sizes.map(|size| format!("/chunks/{size}/1000000000"));
        // tonic's encoder has a buffer for each stream from its beginning, which is
        // most of what is left for a chunk: not for one of a mebibyte as well.
        let messages = sizes[..5].iter().map(|size| format!("/messages/{size}"));
        let mut paths: Vec<_> = chunks.into_iter().chain(messages).collect();
        if let Ok(only) = std::env::var("UNREAD_ONLY") {
            paths = vec![only];
        }
        for path in paths {
            let server = Server::start(stack).await;
            let before = server.resident().await;
            let first = unread(server.addr, &path).await;
            let alone = server.resident().await.saturating_sub(before);
            server.answers().await;
            let mut clients = vec![first];
            for _ in 1..100 {
                clients.push(unread(server.addr, &path).await);
            }
            let each = server.resident().await.saturating_sub(before) / clients.len();
            server.answers().await;
            println!(
                "{stack:?} {path}: {:>5} KiB alone, {:>5} KiB each of 100",
                alone / 1024,
                each / 1024
            );
            if alone > ALONE || each > EACH {
                too_much.push(format!("{stack:?} {path}"));
            }
        }
    }
    assert!(too_much.is_empty(), "{too_much:?}");
}

#[tokio::test]
#[ignore = "measures memory; see above"]
async fn and_gets_every_byte_once_it_reads() {
    for stack in Stack::ALL {
        for (size, count) in [(1, 20_000), (100, 5_000), (64 * 1024, 30), (MIB, 3)] {
            let server = Server::start(stack).await;
            let mut client = unread(server.addr, &format!("/chunks/{size}/{count}")).await;
            sleep(Duration::from_secs(1)).await;
            let begun = Instant::now();
            let mut open = STREAMS;
            let mut bytes = 0;
            while open > 0 {
                let frame = timeout(DEADLINE, client.frame()).await.unwrap();
                if frame.kind == DATA {
                    bytes += frame.payload.len();
                    open -= u32::from(frame.flags & END_STREAM != 0);
                }
            }
            println!(
                "{stack:?} {size:>8}: {bytes} bytes in {:?}",
                begun.elapsed()
            );
            assert_eq!(bytes, size * count * STREAMS as usize, "{stack:?}");
        }
    }
}

#[tokio::test]
#[ignore = "measures memory; see above"]
async fn what_a_client_sends_in_tiny_frames_is_bounded_as_well() {
    for size in [1, 100, 256, 16 * 1024] {
        let server = Server::start(Stack::Own).await;
        let before = server.resident().await;
        let mut client = Client::connect(server.addr, u32::MAX >> 1).await;
        // The server's window counts from the acknowledgement of its settings.
        while client.frame().await.kind != SETTINGS {}
        client.send(SETTINGS, ACK, 0, &[]).await;
        client.post(1, "/keep").await;
        let mut frame = vec![0, 0, 0, DATA, 0, 0, 0, 0, 1];
        frame[1..3].copy_from_slice(&u16::try_from(size).unwrap().to_be_bytes());
        frame.resize(9 + size, b'.');
        // All that the window takes; h2 ends the connection if the frames are tiny.
        let frames = frame.repeat((MIB - 1) / size);
        let _ = timeout(Duration::from_secs(5), client.stream.write_all(&frames)).await;
        let grown = server.resident().await.saturating_sub(before);
        println!("{} KiB for an upload in frames of {size}", grown / 1024);
        assert!(grown <= ALONE, "{size}");
    }
}

#[tokio::test]
#[ignore = "measures time; see above"]
async fn how_long_a_gibibyte_takes() {
    for stack in ["Bare", "Own", "Axum", "Tonic"] {
        let server = Server::start(format_args!("{stack}")).await;
        for size in [4 * 1024, 16 * 1024, 64 * 1024, MIB] {
            let mut took = Vec::new();
            for _ in 0..3 {
                let mut client = Client::connect(server.addr, u32::MAX >> 1).await;
                let begun = Instant::now();
                client
                    .get(1, &format!("/chunks/{size}/{}", 1024 * MIB / size))
                    .await;
                assert_eq!(client.read_to_end(1).await, 1024 * MIB);
                took.push(begun.elapsed());
            }
            println!("{stack:>5} {size:>8}: {:?}", took.iter().min().unwrap());
        }
    }
}
