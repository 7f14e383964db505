//! An HTTP/2 client that shows every frame.

#![allow(dead_code, reason = "not every test needs every frame")]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The whole of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The header block of a GET: method, scheme, and a literal path and authority,
/// which are not indexed.
pub(crate) fn get_block(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend(path.as_bytes());
    block.extend([0x01, 1, b'x']);
    block
}

/// The SETTINGS entry for the window that streams begin with.
pub(crate) fn initial_window(size: u32) -> Vec<u8> {
    let mut entry = vec![0, 4];
    entry.extend(size.to_be_bytes());
    entry
}

pub(crate) struct Http2<S = TcpStream> {
    pub(crate) stream: S,
}

impl Http2 {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::connect_with(addr, &[]).await
    }

    /// With these entries of SETTINGS.
    pub(crate) async fn connect_with(addr: SocketAddr, settings: &[u8]) -> Self {
        let stream = TcpSocket::new_v4().unwrap().connect(addr).await.unwrap();
        Self::begin(stream, settings).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http2<S> {
    pub(crate) async fn begin(mut stream: S, settings: &[u8]) -> Self {
        stream.write_all(PREFACE).await.unwrap();
        let mut client = Self { stream };
        client.send(SETTINGS, 0, 0, settings).await;
        client
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.write(&frame(kind, flags, stream, payload)).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        // An answer may come too late for who is gone already.
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    pub(crate) async fn get(&mut self, stream: u32, path: &str) {
        let block = get_block(path);
        let flags = END_STREAM | END_HEADERS;
        self.send(HEADERS, flags, stream, &block).await;
    }

    /// A request whose body is still to come.
    pub(crate) async fn post(&mut self, stream: u32, path: &str) {
        let mut block = get_block(path);
        block[0] = 0x83;
        self.send(HEADERS, END_HEADERS, stream, &block).await;
    }

    /// A WebSocket (RFC 8441).
    pub(crate) async fn websocket(&mut self, stream: u32, path: &str) {
        let literal = |name: &str, value: &str| {
            let mut field = vec![0, u8::try_from(name.len()).unwrap()];
            field.extend(name.as_bytes());
            field.push(u8::try_from(value.len()).unwrap());
            field.extend(value.as_bytes());
            field
        };
        let mut block = literal(":method", "CONNECT");
        block.extend(literal(":protocol", "websocket"));
        // All of a GET but the method.
        block.extend(&get_block(path)[1..]);
        block.extend(literal("sec-websocket-version", "13"));
        self.send(HEADERS, END_HEADERS, stream, &block).await;
    }

    pub(crate) async fn update(&mut self, stream: u32, more: u32) {
        self.send(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
            .await;
    }

    /// The next frame, of those that are not answered by themselves.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.next_unanswered().await?;
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await,
                PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload).await,
                _ => return Some(frame),
            }
        }
    }

    /// The next frame, with nothing sent because of it.
    pub(crate) async fn next_unanswered(&mut self) -> Option<Frame> {
        let mut header = [0; 9];
        self.stream.read_exact(&mut header).await.ok()?;
        let [a, b, c, kind, flags, s0, s1, s2, s3] = header;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap();
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            payload,
        })
    }

    /// The next frame of that kind on that stream.
    pub(crate) async fn until(&mut self, kind: u8, stream: u32) -> Frame {
        loop {
            let next = timeout(LONG, self.next()).await.expect("a frame");
            let next = next.unwrap_or_else(|| panic!("the end, and no {kind} on {stream}"));
            if (next.kind, next.stream) == (kind, stream) {
                return next;
            }
        }
    }

    pub(crate) async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = timeout(LONG, self.next()).await.expect("the end") {
            frames.push(frame);
        }
        frames
    }
}
