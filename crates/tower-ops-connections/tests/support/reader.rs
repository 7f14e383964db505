//! HTTP/2 by hand: a client that sends what it wants, and reads when it wants.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
#[allow(dead_code, reason = "not every test acknowledges")]
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const END_STREAM: u8 = 1;
#[allow(dead_code, reason = "not every test acknowledges")]
pub(crate) const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

pub(crate) struct Client {
    pub(crate) stream: BufReader<TcpStream>,
}

pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Client {
    /// Connects, and opens all windows so wide.
    pub(crate) async fn connect(addr: SocketAddr, window: u32) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut stream = BufReader::with_capacity(256 * 1024, stream);
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // SETTINGS_INITIAL_WINDOW_SIZE, and WINDOW_UPDATE for the connection.
        hello.extend_from_slice(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4]);
        hello.extend_from_slice(&window.to_be_bytes());
        if window > 65_535 {
            hello.extend_from_slice(&[0, 0, 4, 8, 0, 0, 0, 0, 0]);
            hello.extend_from_slice(&(window - 65_535).to_be_bytes());
        }
        stream.write_all(&hello).await.unwrap();
        Self { stream }
    }

    pub(crate) async fn get(&mut self, stream: u32, path: &str) {
        self.request(stream, path, 0x82, END_STREAM).await;
    }

    /// Without the end of its body.
    pub(crate) async fn post(&mut self, stream: u32, path: &str) {
        self.request(stream, path, 0x83, 0).await;
    }

    async fn request(&mut self, stream: u32, path: &str, method: u8, flags: u8) {
        // The method, http, the path and the authority x (RFC 7541, appendix A).
        let mut block = vec![method, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
        block.extend_from_slice(path.as_bytes());
        block.extend_from_slice(&[0x01, 1, b'x']);
        self.send(HEADERS, flags | END_HEADERS, stream, &block)
            .await;
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).await.unwrap();
    }

    pub(crate) async fn frame(&mut self) -> Frame {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.unwrap();
        Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        }
    }

    /// How many bytes of data came until the end of the stream.
    pub(crate) async fn read_to_end(&mut self, stream: u32) -> usize {
        let mut bytes = 0;
        loop {
            let frame = self.frame().await;
            if frame.stream != stream {
                continue;
            }
            assert!(matches!(frame.kind, DATA | HEADERS), "{}", frame.kind);
            if frame.kind == DATA {
                bytes += frame.payload.len();
            }
            if frame.flags & END_STREAM != 0 {
                return bytes;
            }
        }
    }
}
