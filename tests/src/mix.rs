//! A mix of requests to the playground, a third of them cut by the client at random moments.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tower_ops_testing::RawHttp1;

const DEADLINE: Duration = Duration::from_secs(30);

/// What the clients know of what they sent.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "for tests")]
pub struct Sent {
    /// Given up by the client.
    pub cut: usize,
    /// Answered as they should be.
    pub completed: usize,
    /// Those whose handler or body panicked.
    pub panicked: usize,
    /// Those whose body broke.
    pub body_failed: usize,
}

impl Sent {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.cut + self.completed + self.panicked + self.body_failed
    }

    /// Adds what another client sent.
    pub const fn add(&mut self, other: Self) {
        self.cut += other.cut;
        self.completed += other.completed;
        self.panicked += other.panicked;
        self.body_failed += other.body_failed;
    }

    fn count(&mut self, request: &Planned) {
        match (request.cut_after, request.end) {
            (Some(_), _) => self.cut += 1,
            (None, End::Completed) => self.completed += 1,
            (None, End::Panicked) => self.panicked += 1,
            (None, End::BodyFailed) => self.body_failed += 1,
        }
    }
}

#[derive(Clone, Copy)]
enum End {
    Completed,
    Panicked,
    BodyFailed,
}

struct Planned {
    method: &'static str,
    path: String,
    body: &'static str,
    end: End,
    cut_after: Option<Duration>,
}

impl Planned {
    fn new(random: &mut Random) -> Self {
        let n = random.below(1_000);
        let cut = random.below(3) == 0;
        // Most of what is cut lasts: what has ended before the cut was not cut.
        let lasts = cut && random.below(3) > 0;
        let kind = if lasts {
            2 + random.below(4)
        } else {
            random.below(14)
        };
        let (method, path, end) = match kind {
            0 => ("GET", "/".to_owned(), End::Completed),
            1 => ("GET", format!("/users/{n}"), End::Completed),
            2 | 3 => ("GET", format!("/slow/{}", n % 20), End::Completed),
            4 | 5 => (
                "GET",
                format!("/stream/{}/{}", 1 + n % 8, n % 3),
                End::Completed,
            ),
            6 => (
                "GET",
                format!("/status/{}", [200, 204, 304, 404, 500, 503][n % 6]),
                End::Completed,
            ),
            7 => ("GET", "/panic".to_owned(), End::Panicked),
            8 => ("GET", "/panic-body".to_owned(), End::Panicked),
            9 => ("GET", "/error-body/3".to_owned(), End::BodyFailed),
            10 => ("POST", "/echo".to_owned(), End::Completed),
            11 => ("GET", format!("/nowhere/{n}"), End::Completed),
            12 => ("GET", format!("/nested/users/{n}"), End::Completed),
            _ => ("GET", format!("/service/users/{n}"), End::Completed),
        };
        let body = if method == "POST" {
            "some bytes to echo"
        } else {
            ""
        };
        let cut_after = cut.then(|| Duration::from_micros(random.below(8_000) as u64));
        Self {
            method,
            path,
            body,
            end,
            cut_after,
        }
    }
}

/// Sends that many requests over HTTP/1.1, on connections that are kept where they can be.
pub async fn http1(addr: SocketAddr, requests: usize, random: &mut Random) -> Sent {
    let mut sent = Sent::default();
    let mut kept = None;
    for _ in 0..requests {
        let request = Planned::new(random);
        let mut client = match kept.take() {
            Some(client) => client,
            None => RawHttp1::connect(addr).await.unwrap(),
        };
        client
            .send_request(request.method, &request.path, &[], request.body)
            .await
            .unwrap();
        sent.count(&request);
        if let Some(after) = request.cut_after {
            // While it waits it reads, as a client would.
            let _ = timeout(after, async {
                while client.read_some().await.is_ok_and(|read| !read.is_empty()) {}
            })
            .await;
            if random.below(2) == 0 {
                client.reset();
            }
            continue;
        }
        let whole = async {
            let head = client.read_head().await?;
            client.read_body(&head).await
        };
        let whole = whole.await;
        assert_eq!(
            whole.is_ok(),
            matches!(request.end, End::Completed),
            "{}",
            request.path
        );
        if whole.is_ok() {
            kept = Some(client);
        }
    }
    sent
}

/// Sends that many requests over one connection of HTTP/2.
pub async fn http2(addr: SocketAddr, requests: usize, random: &mut Random) -> Sent {
    let mut sent = Sent::default();
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut client, mut connection) = h2::client::handshake(stream).await.unwrap();
    let mut ping = connection.ping_pong().unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..requests {
        let request = Planned::new(random);
        let head = http::Request::builder()
            .method(request.method)
            .uri(format!("http://{addr}{}", request.path))
            .body(())
            .unwrap();
        client = client.ready().await.unwrap();
        let (response, mut body) = client.send_request(head, request.body.is_empty()).unwrap();
        if !request.body.is_empty() {
            body.send_data(Bytes::from_static(request.body.as_bytes()), true)
                .unwrap();
        }
        sent.count(&request);
        if let Some(after) = request.cut_after {
            // A stream that is reset before it left the client was never sent;
            // the answer to a ping shows that the server has it.
            timeout(DEADLINE, ping.ping(h2::Ping::opaque()))
                .await
                .unwrap()
                .unwrap();
            sleep(after).await;
            body.send_reset(h2::Reason::CANCEL);
            continue;
        }
        let whole = timeout(DEADLINE, drain(response)).await.unwrap();
        assert_eq!(
            whole.is_ok(),
            matches!(request.end, End::Completed),
            "{}",
            request.path
        );
    }
    connection.abort();
    sent
}

async fn drain(response: h2::client::ResponseFuture) -> Result<(), h2::Error> {
    let mut body = response.await?.into_body();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
    }
    body.trailers().await.map(drop)
}

/// Xorshift: the same requests in every run.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    #[must_use]
    pub const fn new(seed: usize) -> Self {
        Self(0x9E37_79B9_7F4A_7C15 ^ (seed as u64 + 1).wrapping_mul(0xBF58_476D_1CE4_E5B9))
    }

    /// A number below the bound.
    pub const fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }
}
