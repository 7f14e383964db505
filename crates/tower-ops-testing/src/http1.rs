use std::net::SocketAddr;
use std::time::Duration;
use std::{fmt::Write as _, io};

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

mod response;
mod wire;

pub use self::response::{Head, RawBody};
use self::wire::Wire;

const DEADLINE: Duration = Duration::from_secs(10);

/// Speaks HTTP/1.1 by hand over one TCP connection.
///
/// It sends any bytes, at any pace, and shows what came back as it was. Dropping it closes the
/// connection with a FIN, provided that all that arrived was read; [`reset`](Self::reset) with
/// an RST.
///
/// Each call must finish within the deadline, 10 seconds by default; a test that would
/// hang panics instead. Failures of the connection are returned.
///
/// # Examples
///
/// ```no_run
/// # async fn example(addr: std::net::SocketAddr) -> std::io::Result<()> {
/// use tower_ops_testing::RawHttp1;
///
/// let mut client = RawHttp1::connect(addr).await?;
/// client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf").await?;
/// client.reset();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RawHttp1 {
    peer: SocketAddr,
    wire: Wire<TcpStream>,
    deadline: Duration,
}

impl RawHttp1 {
    /// Connects to a server.
    ///
    /// # Errors
    ///
    /// If the connection is refused.
    ///
    /// # Panics
    ///
    /// If it takes longer than 10 seconds.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let Ok(stream) = timeout(DEADLINE, TcpStream::connect(addr)).await else {
            panic!("no connection to {addr} within {DEADLINE:?}");
        };
        let stream = stream?;
        stream.set_nodelay(true)?;
        Ok(Self {
            peer: addr,
            wire: Wire::new(stream),
            deadline: DEADLINE,
        })
    }

    /// Sets how long each later call may take.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Returns the client's own address, by which the server knows it.
    ///
    /// # Errors
    ///
    /// If the socket has none any more.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.wire.get_ref().local_addr()
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// If the connection is broken.
    ///
    /// # Panics
    ///
    /// If the peer does not take them within the deadline.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let sending = self.wire.get_mut().write_all(bytes.as_ref());
        let Ok(sent) = timeout(self.deadline, sending).await else {
            self.too_late("sending");
        };
        sent
    }

    /// Sends a whole request.
    ///
    /// `host` is added unless given, and so is `content-length` where there is a body and no
    /// `transfer-encoding`. Otherwise nothing is checked.
    ///
    /// # Errors
    ///
    /// If the connection is broken.
    ///
    /// # Panics
    ///
    /// If the peer does not take it within the deadline.
    pub async fn send_request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> io::Result<()> {
        let body = body.as_ref();
        let given = |wanted: &str| {
            headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case(wanted))
        };
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !given("host") {
            let _ = write!(head, "host: {}\r\n", self.peer);
        }
        if !body.is_empty() && !given("content-length") && !given("transfer-encoding") {
            let _ = write!(head, "content-length: {}\r\n", body.len());
        }
        head.push_str("\r\n");
        self.send([head.as_bytes(), body].concat()).await
    }

    /// Reads the head of a response; an interim one, such as `100 Continue`, counts as one.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the connection closed first, `InvalidData` if it is no HTTP/1 head,
    /// and whatever the socket reports, such as `ConnectionReset`.
    ///
    /// # Panics
    ///
    /// If it is not complete within the deadline.
    pub async fn read_head(&mut self) -> io::Result<Head> {
        let Ok(head) = timeout(self.deadline, Head::read(&mut self.wire)).await else {
            self.too_late("reading a head");
        };
        head
    }

    /// Reads the body that belongs to a head: chunked, by its length, or to the end.
    ///
    /// 1xx, 204 and 304 have none. The answer to HEAD has none either, which its head does not
    /// show: read no body for it.
    ///
    /// # Errors
    ///
    /// As [`read_head`](Self::read_head); a body that is cut short is `UnexpectedEof`.
    ///
    /// # Panics
    ///
    /// If it is not complete within the deadline.
    pub async fn read_body(&mut self, head: &Head) -> io::Result<RawBody> {
        let Ok(body) = timeout(self.deadline, RawBody::read(&mut self.wire, head)).await else {
            self.too_late("reading a body");
        };
        body
    }

    /// Reads whatever comes next, of any length; nothing means that the peer has closed.
    ///
    /// # Errors
    ///
    /// Whatever the socket reports, such as `ConnectionReset`.
    ///
    /// # Panics
    ///
    /// If nothing comes within the deadline.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again; no bytes are lost.
    pub async fn read_some(&mut self) -> io::Result<Bytes> {
        let Ok(bytes) = timeout(self.deadline, self.wire.some()).await else {
            self.too_late("reading");
        };
        bytes
    }

    /// Closes the sending half with a FIN and goes on reading.
    ///
    /// # Errors
    ///
    /// If the connection is broken.
    pub async fn half_close(&mut self) -> io::Result<()> {
        self.wire.get_mut().shutdown().await
    }

    /// Closes the connection with an RST, which is an error for the peer.
    ///
    /// The peer may lose what was sent just before.
    ///
    /// # Panics
    ///
    /// If the system refuses the socket option.
    pub fn reset(self) {
        self.wire
            .get_ref()
            .set_zero_linger()
            .expect("set SO_LINGER to zero");
    }

    fn too_late(&self, doing: &str) -> ! {
        panic!(
            "{doing}: not done within {:?}, peer {}; read and not yet used: {:?}",
            self.deadline,
            self.peer,
            self.wire.unread(),
        )
    }
}
