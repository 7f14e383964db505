use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};
use tower_ops_examples::playground::EchoRequest;
use tower_ops_examples::playground::echo_client::EchoClient;

/// What clients ask over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// HTTP/1.1, with a pool of connections that are kept alive.
    Http1,
    /// HTTP/2, on one connection.
    Http2,
    /// gRPC, on one channel of tonic's.
    Grpc,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Grpc];

    /// For a table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Grpc => "gRPC",
        }
    }
}

/// Clients that send one request after the other until they are stopped. A request that fails is
/// counted and not tried again, except once if it never reached the server: RFC 9113, section
/// 6.8, and gRPC's specification (gRFC A6, "transparent retries") have clients send those again.
/// hyper-util does so in most cases, tonic in none; how many there were is counted as well.
#[derive(Debug)]
pub struct Load {
    kind: Kind,
    stop: Arc<AtomicBool>,
    clients: JoinSet<Felt>,
}

/// What clients felt.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Felt {
    /// How long each request took that was answered as it should be.
    pub times: Vec<Duration>,
    /// Those that were not, by what they got.
    pub failed: BTreeMap<String, usize>,
    /// Those that went out again, since the connection ended before they were sent.
    pub sent_again: usize,
}

impl Felt {
    /// How many were asked.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.times.len() + self.failures()
    }

    /// How many failed.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.failed.values().sum()
    }

    /// The time that this part of the requests took at most.
    #[must_use]
    pub fn quantile(&mut self, part: f64) -> Duration {
        self.times.sort_unstable();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place among some thousands"
        )]
        let place = (self.times.len() as f64 * part) as usize;
        self.times.get(place).copied().unwrap_or_default()
    }
}

impl Load {
    /// Starts `clients` of that kind, each of which waits for `pause` after a request.
    #[must_use]
    pub fn start(kind: Kind, addr: SocketAddr, clients: usize, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        // One pool for all, as an application has it; but HTTP/2 shares connections, and one
        // would be too few to see anything.
        let pool = http_client(kind);
        for _ in 0..clients {
            let stop = Arc::clone(&stop);
            match kind {
                Kind::Http1 => tasks.spawn(ask(Http(pool.clone(), addr), stop, pause)),
                Kind::Http2 => tasks.spawn(ask(Http(http_client(kind), addr), stop, pause)),
                Kind::Grpc => {
                    let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
                    let client = EchoClient::new(endpoint.connect_lazy());
                    tasks.spawn(ask(Grpc(client), stop, pause))
                }
            };
        }
        Self {
            kind,
            stop,
            clients: tasks,
        }
    }

    /// What they ask over.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Stops them.
    pub async fn stop(mut self) -> Felt {
        self.stop.store(true, Ordering::Relaxed);
        let mut felt = Felt::default();
        while let Some(client) = self.clients.join_next().await {
            let client = client.unwrap();
            felt.times.extend(client.times);
            felt.sent_again += client.sent_again;
            for (what, times) in client.failed {
                *felt.failed.entry(what).or_default() += times;
            }
        }
        felt
    }
}

type Pool = Client<HttpConnector, Empty<Bytes>>;

/// With the defaults that users have: among them, a request that was never written, because its
/// connection was gone, goes out on another.
fn http_client(kind: Kind) -> Pool {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .http2_only(kind == Kind::Http2)
        .build_http()
}

trait Ask: Send + 'static {
    fn ask(&mut self) -> impl Future<Output = Result<(), Failed>> + Send;
}

struct Failed {
    what: String,
    never_sent: bool,
}

impl Failed {
    fn of(error: &(dyn Error + 'static)) -> Self {
        Self {
            what: chain(error),
            never_sent: never_sent(error),
        }
    }
}

struct Http(Pool, SocketAddr);

impl Ask for Http {
    async fn ask(&mut self) -> Result<(), Failed> {
        let uri = format!("http://{}/", self.1);
        let request = Request::get(uri).body(Empty::new()).unwrap();
        let response = self
            .0
            .request(request)
            .await
            .map_err(|error| Failed::of(&error))?;
        if response.status() != StatusCode::OK {
            return Err(Failed {
                what: response.status().to_string(),
                never_sent: false,
            });
        }
        let body = response.into_body().collect().await;
        body.map(drop).map_err(|error| Failed {
            what: chain(&error),
            never_sent: false,
        })
    }
}

struct Grpc(EchoClient<Channel>);

impl Ask for Grpc {
    async fn ask(&mut self) -> Result<(), Failed> {
        let message = "hello".to_owned();
        let reply = self.0.unary(EchoRequest { message }).await;
        reply.map(drop).map_err(|status| Failed::of(&status))
    }
}

/// Whether the request never reached the server: it was still queued in the client when its
/// connection ended, which hyper reports as a cancellation, or GOAWAY came first. One that was sent
/// and lost with its connection is an error of I/O.
fn never_sent(error: &(dyn Error + 'static)) -> bool {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_canceled()
        {
            return true;
        }
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        }
        source = error.source();
    }
    false
}

async fn ask(mut client: impl Ask, stop: Arc<AtomicBool>, pause: Duration) -> Felt {
    let mut felt = Felt::default();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let mut asked = client.ask().await;
        if asked.as_ref().is_err_and(|failed| failed.never_sent) {
            felt.sent_again += 1;
            asked = client.ask().await;
        }
        match asked {
            Ok(()) => felt.times.push(began.elapsed()),
            Err(failed) => *felt.failed.entry(failed.what).or_default() += 1,
        }
        sleep(pause).await;
    }
    felt
}

/// The text of an error and of its sources.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
