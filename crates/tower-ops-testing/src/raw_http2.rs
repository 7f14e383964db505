use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(10);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The types of frames (RFC 9113, section 6).
pub mod frame {
    #![allow(missing_docs, reason = "the names of the specification")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;

    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
}

/// One frame of HTTP/2.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a frame has just these parts")]
pub struct Frame {
    /// The type: see [`frame`].
    pub kind: u8,
    /// The flags.
    pub flags: u8,
    /// The stream; 0 is the connection.
    pub stream: u32,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Speaks HTTP/2 by hand over one TCP connection: sends any frames, at any pace, and shows every
/// frame that came.
///
/// Nothing is answered by itself, neither SETTINGS nor PING nor flow control; see
/// [`next_answering`](Self::next_answering). Each read must finish within 10 seconds; a test
/// that would hang panics instead.
#[derive(Debug)]
pub struct RawHttp2 {
    stream: TcpStream,
}

impl RawHttp2 {
    /// Connects, and sends the preface with these settings.
    ///
    /// # Errors
    ///
    /// If the connection is refused or breaks.
    pub async fn connect(addr: SocketAddr, settings: &[(u16, u32)]) -> io::Result<Self> {
        let mut stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        stream.write_all(PREFACE).await?;
        let mut client = Self { stream };
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        client.send(frame::SETTINGS, 0, 0, &payload).await?;
        Ok(client)
    }

    /// Sends one frame.
    ///
    /// # Errors
    ///
    /// If the connection is broken.
    ///
    /// # Panics
    ///
    /// If the payload is longer than a frame can be.
    pub async fn send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> io::Result<()> {
        let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        self.stream.write_all(&bytes).await
    }

    /// Sends a GET without a body.
    ///
    /// # Errors
    ///
    /// If the connection is broken.
    pub async fn get(&mut self, stream: u32, path: &str) -> io::Result<()> {
        let flags = frame::END_STREAM | frame::END_HEADERS;
        let head = Self::head(0x82, path);
        self.send(frame::HEADERS, flags, stream, &head).await
    }

    /// Sends the head of a POST, whose body is to follow.
    ///
    /// # Errors
    ///
    /// If the connection is broken.
    pub async fn post(&mut self, stream: u32, path: &str) -> io::Result<()> {
        let head = Self::head(0x83, path);
        self.send(frame::HEADERS, frame::END_HEADERS, stream, &head)
            .await
    }

    /// A header block without the dynamic table: the method by its index in the static one,
    /// `http`, and a literal path and authority.
    fn head(method: u8, path: &str) -> Vec<u8> {
        let length = u8::try_from(path.len()).expect("a short path");
        assert!(length < 127, "a path whose length fits into one byte");
        let mut head = vec![method, 0x86, 0x04, length];
        head.extend(path.as_bytes());
        head.extend([0x01, 1, b'x']);
        head
    }

    /// Enlarges a window, of a stream or (0) of the connection.
    ///
    /// # Errors
    ///
    /// If the connection is broken.
    pub async fn window_update(&mut self, stream: u32, by: u32) -> io::Result<()> {
        self.send(frame::WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
            .await
    }

    /// The next frame, or `None` at the end of the connection, however it ended.
    ///
    /// # Panics
    ///
    /// If none comes within 10 seconds.
    pub async fn next(&mut self) -> Option<Frame> {
        let next = timeout(DEADLINE, self.read());
        next.await.expect("a frame within the deadline").ok()
    }

    /// As [`next`](Self::next), and answers SETTINGS and PING as a client has to.
    ///
    /// # Panics
    ///
    /// If none comes within 10 seconds.
    pub async fn next_answering(&mut self) -> Option<Frame> {
        let next = self.next().await?;
        if matches!(next.kind, frame::SETTINGS | frame::PING) && next.flags & frame::ACK == 0 {
            let payload = match next.kind {
                frame::PING => &next.payload[..],
                _ => &[],
            };
            // An answer may come too late for who is gone already.
            let _ = self.send(next.kind, frame::ACK, 0, payload).await;
        }
        Some(next)
    }

    async fn read(&mut self) -> io::Result<Frame> {
        let mut header = [0; 9];
        self.stream.read_exact(&mut header).await?;
        let [a, b, c, kind, flags, s0, s1, s2, s3] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).await?;
        Ok(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            payload,
        })
    }

    /// The client's own address, by which the server knows it.
    ///
    /// # Errors
    ///
    /// If the socket has none any more.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }
}
