//! The life of a process that the bundle serves: start-up, the way to its end, several listeners.
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::net::SocketAddr;
use std::time::Duration;

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tower_ops::health::Check;
use tower_ops::lifecycle::{LifecycleBuilder, Phase, ShutdownReport, Trigger};
use tower_ops::{Ops, OpsBuilder};
use tower_ops_testing::{Head, RawHttp1, free_addr};

const LONG: Duration = Duration::from_secs(20);
/// Long enough for what has to happen in it on a busy machine.
const PRE_DRAIN: Duration = Duration::from_secs(2);

fn builder(operations: SocketAddr) -> OpsBuilder {
    Ops::builder("test")
        .private_recorder()
        .ops_addr(operations.to_string())
        .lifecycle(|life| life.signals(false).pre_drain(PRE_DRAIN))
}

struct Life {
    ops: Ops,
    app: SocketAddr,
    operations: SocketAddr,
    stopped: JoinHandle<Result<ShutdownReport, tower_ops::StartError>>,
}

impl Life {
    async fn begin(change: impl FnOnce(LifecycleBuilder) -> LifecycleBuilder) -> Self {
        let operations = free_addr();
        let ops = builder(operations).lifecycle(change).build().unwrap();
        let app = Router::new().route("/", get(async || "hello"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let stopped = tokio::spawn({
            let ops = ops.clone();
            async move { ops.serve(listener, app.layer(ops.layer())).await }
        });
        let life = Self {
            ops,
            app: addr,
            operations,
            stopped,
        };
        let accepting = async {
            while tokio::net::TcpStream::connect(operations).await.is_err() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, accepting).await.unwrap();
        life
    }

    async fn end(self) -> ShutdownReport {
        timeout(LONG, self.stopped).await.unwrap().unwrap().unwrap()
    }
}

async fn ask(addr: SocketAddr, path: &str) -> (Head, String) {
    let mut client = RawHttp1::connect(addr).await.unwrap();
    client.send_request("GET", path, &[], "").await.unwrap();
    let head = client.read_head().await.unwrap();
    let body = client.read_body(&head).await.unwrap().data;
    (head, String::from_utf8(body.to_vec()).unwrap())
}

async fn until(addr: SocketAddr, path: &str, status: u16) {
    let start = Instant::now();
    while ask(addr, path).await.0.status != status {
        assert!(start.elapsed() < LONG, "{path} never answers {status}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn it_serves_on_for_a_while_and_is_not_ready_meanwhile() {
    let life = Life::begin(|life| life).await;
    until(life.operations, "/ready", 200).await;
    let (head, _) = ask(life.app, "/").await;
    assert!(!head.headers.contains_key("connection"));

    // The answer to the hook comes when the pre-drain is over.
    let began = Instant::now();
    let operations = life.operations;
    let prestop = tokio::spawn(async move { ask(operations, "/prestop").await });
    until(life.operations, "/ready", 503).await;
    assert_eq!(life.ops.lifecycle().phase(), Phase::PreDraining);
    let (head, body) = ask(life.app, "/").await;
    assert_eq!((head.status.as_u16(), body.as_str()), (200, "hello"));
    assert_eq!(head.headers["connection"], "close");
    assert_eq!(ask(life.operations, "/health").await.0.status, 200);

    let (head, body) = prestop.await.unwrap();
    assert!(began.elapsed() >= PRE_DRAIN);
    assert_eq!(head.status, 200);
    assert!(body.contains("\"trigger\":\"prestop\""), "{body}");
    let report = life.end().await;
    assert_eq!(report.trigger(), Some(Trigger::PreStop));
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn it_is_ready_when_its_steps_are_done() {
    let life = Life::begin(|life| life.expect_step("migrate")).await;
    until(life.operations, "/health", 200).await;
    assert_eq!(ask(life.operations, "/ready").await.0.status, 503);
    assert_eq!(ask(life.operations, "/startup").await.0.status, 503);
    // It serves all the same: whoever asks does not ask readiness.
    assert_eq!(ask(life.app, "/").await.0.status, 200);

    let step = life
        .ops
        .lifecycle()
        .step("migrate", async { Ok::<_, String>(()) });
    step.await.unwrap();
    until(life.operations, "/ready", 200).await;
    until(life.operations, "/startup", 200).await;
    life.ops.lifecycle().shutdown();
    life.end().await;
}

#[tokio::test]
async fn hooks_run_after_the_drain_and_the_operations_endpoint_closes_last() {
    let life = Life::begin(|life| {
        life.pre_drain(Duration::ZERO)
            .hooks_timeout(Duration::from_secs(2))
    })
    .await;
    until(life.operations, "/ready", 200).await;
    let (app, operations) = (life.app, life.operations);
    life.ops.lifecycle().on_stop("asks", async move || {
        assert!(tokio::net::TcpStream::connect(app).await.is_err());
        let (head, text) = ask(operations, "/metrics").await;
        assert_eq!(head.status, 200);
        assert!(
            text.contains("lifecycle_phase{phase=\"draining\"} 1"),
            "{text}"
        );
    });
    life.ops.lifecycle().on_stop("panics", panics);
    life.ops
        .lifecycle()
        .on_stop("fails", async || Err::<(), _>("disk full"));
    life.ops.lifecycle().shutdown();
    let report = life.end().await;
    let hooks: Vec<_> = report
        .hooks()
        .iter()
        .map(|hook| format!("{} {}", hook.name, hook.outcome))
        .collect();
    assert_eq!(hooks[0], "fails failed: disk full");
    assert!(hooks[1].starts_with("panics panicked"), "{}", hooks[1]);
    assert_eq!(hooks[2], "asks done");
    assert!(tokio::net::TcpStream::connect(operations).await.is_err());
}

async fn panics() {
    panic!("in a hook");
}

#[tokio::test]
async fn a_quiet_pre_drain_ends_early() {
    let window = Duration::from_secs(1);
    let life = Life::begin(|life| {
        life.pre_drain(Duration::from_secs(19))
            .drain_timeout(Duration::from_secs(1))
            .wait_for_quiet(window)
    })
    .await;
    until(life.operations, "/ready", 200).await;
    let began = Instant::now();
    life.ops.lifecycle().shutdown();
    sleep(window / 4).await;
    // One that comes late, which the window begins again with.
    ask(life.app, "/").await;
    let late = began.elapsed();
    let report = life.end().await;
    assert!(
        began.elapsed() >= late + window - Duration::from_millis(10),
        "{report}"
    );
    assert!(
        report.pre_drain().unwrap() < Duration::from_secs(15),
        "{report}"
    );
}

#[tokio::test]
async fn not_ready_is_not_taken_back_by_what_follows_the_phase() {
    for _ in 0..20 {
        let ops = builder(free_addr()).build().unwrap();
        let endpoint = ops.start_operations().unwrap();
        ops.mark_ready();
        ops.health().mark_not_ready();
        sleep(Duration::from_millis(20)).await;
        assert!(!ops.health().is_ready());
        drop(endpoint);
    }
}

#[tokio::test]
async fn a_server_that_nobody_sees_stop_gets_its_time() {
    let ops = builder(free_addr())
        .without_requests()
        .lifecycle(|life| {
            life.pre_drain(Duration::ZERO)
                .drain_timeout(Duration::from_millis(500))
        })
        .build()
        .unwrap();
    let endpoint = ops.start_operations().unwrap();
    ops.mark_ready();
    // As `axum::serve` has it, without `with_deadline`.
    let _stop = ops.lifecycle().signal_to_stop();
    ops.lifecycle().shutdown();
    let report = timeout(LONG, ops.lifecycle().run()).await.unwrap();
    assert!(
        report.drain().unwrap() >= Duration::from_millis(500),
        "{report}"
    );
    drop(endpoint);
}

#[tokio::test]
async fn on_the_applications_own_port_run_publishes_checks_and_the_phase() {
    let check = Check::always_ok("db").critical();
    let builder = builder(free_addr()).check(check);
    let ops = builder.build().unwrap();
    let running = tokio::spawn(ops.run());
    let app: Router = Router::new()
        .route("/", get(async || "hello"))
        .fallback(async || "nothing here")
        .layer(ops.operations().layer("/ops"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    assert_eq!(ask(addr, "/").await.1, "hello");
    assert_eq!(ask(addr, "/ops/ready").await.0.status, 503);
    ops.mark_ready();
    // The check has run as well.
    until(addr, "/ops/ready", 200).await;
    ops.lifecycle().shutdown();
    until(addr, "/ops/ready", 503).await;
    timeout(LONG, running).await.unwrap().unwrap();
    assert_eq!(ops.lifecycle().phase(), Phase::Stopped);
    serving.abort();
}

#[tokio::test]
async fn several_listeners_have_one_life() {
    let operations = free_addr();
    let ops = builder(operations)
        .lifecycle(|life| life.pre_drain(Duration::ZERO))
        .build()
        .unwrap();
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addrs = [http.local_addr().unwrap(), inside.local_addr().unwrap()];
    let app = |text: &'static str| {
        let router = Router::new().route("/", get(async move || text));
        router.layer(ops.layer())
    };
    let servers = ops
        .servers()
        .listen_as("http", http, app("public"))
        .listen_as("inside", inside, app("inside"));
    #[cfg(unix)]
    let (directory, servers) = {
        let directory = std::env::temp_dir().join(format!("tower-ops-life-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let socket = tokio::net::UnixListener::bind(directory.join("socket")).unwrap();
        (directory, servers.listen_as("unix", socket, app("unix")))
    };
    let stopped = tokio::spawn(servers.run());
    assert_eq!(ask(addrs[0], "/").await.1, "public");
    assert_eq!(ask(addrs[1], "/").await.1, "inside");
    #[cfg(unix)]
    {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let socket = directory.join("socket");
        let mut client = tokio::net::UnixStream::connect(socket).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: it\r\nconnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("unix"), "{answer}");
        std::fs::remove_dir_all(directory).unwrap();
    }
    let (_, metrics) = ask(operations, "/metrics").await;
    for listener in ["http", "inside"] {
        let line = format!("server_connections_total{{listener=\"{listener}\"}} 1");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    ops.lifecycle().shutdown();
    let report = timeout(LONG, stopped).await.unwrap().unwrap().unwrap();
    assert!(report.is_clean(), "{report}");
    for addr in addrs {
        assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    }
}

#[test]
fn a_timeline_over_the_grace_period_is_listed_with_everything_else() {
    let error = Ops::builder(" ")
        .lifecycle(|life| life.drain_timeout(Duration::from_secs(60)))
        .build()
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("name: is empty"), "{text}");
    assert!(
        text.contains("lifecycle: grace_period: 30s is less than the 73s"),
        "{text}"
    );
}
