//! 10,000 mixed requests against the playground, a third of them cut by the
//! client at random moments: every one of them is counted once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower_ops_testing::RawHttp1;
use tower_ops_tests::Service;

const REQUESTS: usize = 10_000;
const CLIENTS: usize = 20;
const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_mixed_requests_are_all_counted_once() {
    let service = Service::start("playground").await;
    let addr = service.app();
    let mut clients = JoinSet::new();
    for seed in 0..CLIENTS {
        clients.spawn(async move {
            let mut random = Random::new(seed);
            if seed % 2 == 0 {
                http1(addr, &mut random).await
            } else {
                http2(addr, &mut random).await
            }
        });
    }
    let mut sent = Sent::default();
    while let Some(of_one) = clients.join_next().await {
        sent.add(of_one.unwrap());
    }
    assert_eq!(sent.total(), REQUESTS);
    eprintln!("{sent:?}");

    let samples = service.scrape_idle().await;
    let total = |labels: &[(&str, &str)]| count(samples.sum("server_requests_total", labels));
    let outcome = |name| total(&[("outcome", name)]);

    assert_eq!(total(&[]), REQUESTS);
    assert_eq!(samples.sum("server_in_flight_requests", &[]).to_bits(), 0);
    assert_eq!(samples.sum("http_server_active_requests", &[]).to_bits(), 0);
    assert_eq!(
        count(samples.sum("http_server_request_duration_seconds_count", &[])),
        REQUESTS
    );

    // What was not cut ended as it had to; what was cut, either way.
    let cancelled = outcome("cancelled_before_head") + outcome("cancelled_during_body");
    let completed = outcome("completed");
    let panicked = outcome("panicked");
    let body_failed = outcome("body_failed");
    assert_eq!(completed + panicked + body_failed + cancelled, REQUESTS);
    assert!((sent.completed..=sent.completed + sent.cut).contains(&completed));
    assert!((sent.panicked..=sent.panicked + sent.cut).contains(&panicked));
    assert!((sent.body_failed..=sent.body_failed + sent.cut).contains(&body_failed));
    // Most cuts come while there is still something to cut.
    assert!(
        (sent.cut / 4..=sent.cut).contains(&cancelled),
        "{cancelled} of {}",
        sent.cut
    );
    assert!(outcome("cancelled_before_head") > 0 && outcome("cancelled_during_body") > 0);

    for version in ["1.1", "2"] {
        let of_version = count(samples.sum(
            "http_server_request_duration_seconds_count",
            &[("network_protocol_version", version)],
        ));
        assert_eq!(of_version, REQUESTS / 2, "HTTP/{version}");
    }
    eprintln!(
        "sent {REQUESTS}: completed {completed}, panicked {panicked}, body_failed {body_failed}, \
         cancelled_before_head {}, cancelled_during_body {}; in flight 0",
        outcome("cancelled_before_head"),
        outcome("cancelled_during_body"),
    );
}

/// What the clients know of what they sent.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    cut: usize,
    completed: usize,
    panicked: usize,
    body_failed: usize,
}

impl Sent {
    const fn total(&self) -> usize {
        self.cut + self.completed + self.panicked + self.body_failed
    }

    const fn add(&mut self, other: Self) {
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

async fn http1(addr: SocketAddr, random: &mut Random) -> Sent {
    let mut sent = Sent::default();
    let mut kept = None;
    for _ in 0..REQUESTS / CLIENTS {
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

async fn http2(addr: SocketAddr, random: &mut Random) -> Sent {
    let mut sent = Sent::default();
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut client, mut connection) = h2::client::handshake(stream).await.unwrap();
    let mut ping = connection.ping_pong().unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..REQUESTS / CLIENTS {
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
            // the answer to a ping says that the server has got it.
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

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count"
)]
fn count(value: f64) -> usize {
    value as usize
}

/// Xorshift: the same requests in every run.
struct Random(u64);

impl Random {
    const fn new(seed: usize) -> Self {
        Self(0x9E37_79B9_7F4A_7C15 ^ (seed as u64 + 1).wrapping_mul(0xBF58_476D_1CE4_E5B9))
    }

    const fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }
}
