use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower_ops_testing::RawHttp1;

/// How often readiness is asked.
const PROBED_EVERY: Duration = Duration::from_millis(250);

/// How long a probe may take, as the kubelet's default.
const PROBE: Duration = Duration::from_secs(1);

/// A balancer of connections that reacts late, as those of Kubernetes do: new connections go to
/// the backends that were ready a while ago, and open ones stay.
#[derive(Debug)]
pub struct Balancer {
    addr: SocketAddr,
    backends: Arc<[Backend]>,
    _tasks: JoinSet<()>,
}

/// One backend.
#[derive(Debug)]
struct Backend {
    app: SocketAddr,
    ready: (SocketAddr, String),
    is_routed: AtomicBool,
}

impl Balancer {
    /// Balances among backends: where each serves, and where its readiness is probed. Acts on the
    /// answer to a probe after `delay`.
    pub async fn start(
        backends: impl IntoIterator<Item = (SocketAddr, SocketAddr, &str)>,
        delay: Duration,
    ) -> Self {
        let backends = backends.into_iter().map(|(app, probes, path)| Backend {
            app,
            ready: (probes, path.to_owned()),
            is_routed: AtomicBool::new(false),
        });
        let backends: Arc<[_]> = backends.collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        for place in 0..backends.len() {
            tasks.spawn(watch(Arc::clone(&backends), place, delay));
        }
        tasks.spawn(balance(listener, Arc::clone(&backends)));
        Self {
            addr,
            backends,
            _tasks: tasks,
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits until new connections go to that backend, or until they do not any more.
    pub async fn wait_routed(&self, place: usize, routed: bool) {
        while self.backends[place].is_routed.load(Ordering::Relaxed) != routed {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn watch(backends: Arc<[Backend]>, place: usize, delay: Duration) {
    let mut late = JoinSet::new();
    loop {
        let backend = &backends[place];
        let asked = timeout(PROBE, is_ready(&backend.ready)).await;
        let ready = asked.unwrap_or(false);
        let backends = Arc::clone(&backends);
        // Each answer acts on its own, so that they act in order.
        late.spawn(async move {
            sleep(delay).await;
            backends[place].is_routed.store(ready, Ordering::Relaxed);
        });
        while late.try_join_next().is_some() {}
        sleep(PROBED_EVERY).await;
    }
}

async fn is_ready((addr, path): &(SocketAddr, String)) -> bool {
    let Ok(mut client) = RawHttp1::connect(*addr).await else {
        return false;
    };
    let close = [("connection", "close")];
    let asked = client.send_request("GET", path, &close, "").await;
    asked.is_ok()
        && client
            .read_head()
            .await
            .is_ok_and(|head| head.status == 200)
}

async fn balance(listener: TcpListener, backends: Arc<[Backend]>) {
    let turn = AtomicUsize::new(0);
    let mut connections = JoinSet::new();
    loop {
        let Ok((mut client, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let routed: Vec<_> = backends
            .iter()
            .filter(|backend| backend.is_routed.load(Ordering::Relaxed))
            .map(|backend| backend.app)
            .collect();
        if routed.is_empty() {
            continue; // and the client is closed
        }
        let app = routed[turn.fetch_add(1, Ordering::Relaxed) % routed.len()];
        connections.spawn(async move {
            // Refused, the client is closed: there is no second try.
            let Ok(mut server) = TcpStream::connect(app).await else {
                return;
            };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            // Each direction ends as its sender ends it.
            let _ = copy_bidirectional(&mut client, &mut server).await;
        });
    }
}
