//! Peers that vanish without a word are detected, also with a request in flight.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{SockRef, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tower_ops_connections::{Acceptor, Connections, ConnectionsBuilder, Listener, Peer};

#[path = "support/stacks.rs"]
mod stacks;
use stacks::Stack;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// Keeps a second handle to each socket that it accepts.
struct Spy(TcpListener, Arc<Mutex<Vec<Socket>>>);

impl Listener for Spy {
    type Io = TcpStream;

    async fn next(&mut self) -> io::Result<(TcpStream, Peer)> {
        let (stream, peer) = self.0.next().await?;
        let socket = SockRef::from(&stream).try_clone()?;
        self.1.lock().unwrap().push(socket);
        Ok((stream, peer))
    }

    fn address(&self) -> String {
        self.0.address()
    }
}

/// The options of a connection that was accepted by hand, and by the server.
async fn accepted(builder: ConnectionsBuilder) -> [Socket; 2] {
    let connections = builder.build().unwrap();
    let sockets = Arc::<Mutex<Vec<Socket>>>::default();
    let by_hand = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = by_hand.local_addr().unwrap();
    let mut acceptor = Acceptor::new(Spy(by_hand, Arc::clone(&sockets)));
    let _client = TcpStream::connect(addr).await.unwrap();
    let _io = connections.accept_from(&mut acceptor).await.unwrap();

    let served = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = served.local_addr().unwrap();
    let spy = Spy(served, Arc::clone(&sockets));
    let server = connections.server();
    let serving = tokio::spawn(async move {
        let never = std::future::pending();
        let _ = server.serve(spy, stacks::app(), never).await;
    });
    let _client = TcpStream::connect(addr).await.unwrap();
    while connections.len() < 2 {
        sleep(MILLI).await;
    }
    serving.abort();
    let sockets = std::mem::take(&mut *sockets.lock().unwrap());
    sockets.try_into().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_kernel_asks_silent_peers_as_it_was_set() {
    for socket in accepted(Connections::builder()).await {
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), 60 * SECOND);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), 10 * SECOND);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    }
    let other = Connections::builder()
        .tcp_keep_alive(5 * SECOND)
        .tcp_keep_alive_interval(2 * SECOND)
        .tcp_keep_alive_retries(9)
        .tcp_user_timeout(23 * SECOND);
    for socket in accepted(other).await {
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), 5 * SECOND);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), 2 * SECOND);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 9);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(23 * SECOND));
    }
    for socket in accepted(Connections::builder().tcp_keep_alive(None)).await {
        assert!(!socket.keepalive().unwrap());
    }
    let for_ever = Connections::builder()
        .tcp_keep_alive(Duration::MAX)
        .tcp_keep_alive_interval(Duration::MAX)
        .tcp_user_timeout(Duration::MAX);
    for socket in accepted(for_ever).await {
        assert!(socket.keepalive().unwrap());
        assert!(socket.tcp_keepalive_time().unwrap() > 30_000 * SECOND);
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_http2_that_answers_no_ping_is_closed_with_its_request_in_flight() {
    let connections = Connections::builder()
        .http2_ping_interval(300 * MILLI)
        .http2_ping_timeout(300 * MILLI)
        .build()
        .unwrap();
    let [own, ..] = Stack::ALL;
    let (addr, _server) = own.serve(&connections).await;
    for answers in [true, false] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        // GET /slow/60000
        let mut request = vec![0x82, 0x86, 0x04, 11];
        request.extend(b"/slow/60000\x01\x01x");
        let mut frame = vec![0, 0, u8::try_from(request.len()).unwrap(), 1, 5, 0, 0, 0, 1];
        frame.extend(request);
        stream.write_all(&frame).await.unwrap();
        let mut pings = 0;
        let reading = async {
            loop {
                let mut header = [0; 9];
                if stream.read_exact(&mut header).await.is_err() {
                    return;
                }
                let [_, _, length, kind, flags, ..] = header;
                let mut payload = vec![0; usize::from(length)];
                stream.read_exact(&mut payload).await.unwrap();
                if kind == 6 && flags & 1 == 0 {
                    pings += 1;
                    if answers {
                        let mut answer = vec![0, 0, 8, 6, 1, 0, 0, 0, 0];
                        answer.extend(payload);
                        stream.write_all(&answer).await.unwrap();
                    }
                }
            }
        };
        let ended = if answers {
            timeout(2 * SECOND, reading).await.is_ok()
        } else {
            timeout(30 * SECOND, reading).await.is_ok()
        };
        assert_eq!(ended, !answers);
        assert!(pings >= 1);
        if answers {
            assert_eq!(connections.snapshot(0, 1)[0].in_flight, 1);
        }
        drop(stream);
        while !connections.is_empty() {
            sleep(MILLI).await;
        }
    }
}
