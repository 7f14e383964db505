//! The operations endpoint as those see it that ask it in production: HAProxy, blackbox_exporter,
//! Prometheus and gRPC's own client, each with its defaults. `scripts/test` gets them and runs this.
#![cfg(all(unix, feature = "tonic"))]
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tonic::service::Routes;
use tower_ops::lifecycle::Phase;
use tower_ops::{Ops, OpsBuilder};
use tower_ops_testing::{Process, RawHttp1, free_addr};

const LONG: Duration = Duration::from_secs(30);

struct Instance {
    ops: Ops,
    app: SocketAddr,
    operations: SocketAddr,
    serving: JoinHandle<()>,
}

impl Instance {
    async fn start() -> Self {
        Self::start_with(|ops| ops).await
    }

    async fn start_with(change: impl FnOnce(OpsBuilder) -> OpsBuilder) -> Self {
        let operations = free_addr();
        let ops = Ops::builder("orders")
            .private_recorder()
            .ops_addr(operations.to_string())
            .lifecycle(|life| life.pre_drain(Duration::from_secs(3)).signals(false));
        let ops = change(ops).build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = listener.local_addr().unwrap();
        let health = ops.health().grpc().with_services(["orders.Orders"]);
        let router: Router = Routes::new(health).into_axum_router().layer(ops.layer());
        let serving = tokio::spawn({
            let ops = ops.clone();
            async move {
                ops.serve(listener, router).await.unwrap();
            }
        });
        let began = Instant::now();
        while ops.lifecycle().phase() != Phase::Ready
            || tokio::net::TcpStream::connect(operations).await.is_err()
        {
            assert!(began.elapsed() < LONG);
            sleep(Duration::from_millis(5)).await;
        }
        Self {
            ops,
            app,
            operations,
            serving,
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // What is left lies under target/.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs haproxy; scripts/test runs it"]
async fn haproxys_default_check_finds_it_up_on_every_path_and_stops_nothing() {
    let instance = Instance::start().await;
    let dir = Dir::new("haproxy");
    // A path of the file system is too long for a socket below target/.
    let socket = std::env::temp_dir().join(format!("haproxy-{}.sock", std::process::id()));
    let checks = [
        ("default", "option httpchk"),
        ("health", "option httpchk OPTIONS /health"),
        (
            "ready",
            "option httpchk OPTIONS /ready HTTP/1.1\\r\\nHost:\\ orders.example.com",
        ),
        ("prestop", "option httpchk OPTIONS /prestop"),
        ("get", "option httpchk GET /ready"),
        ("head", "option httpchk HEAD /ready"),
    ];
    let mut config = format!(
        "global\n  stats socket {} mode 600 level admin\n\
         defaults\n  mode http\n  timeout connect 2s\n  timeout client 5s\n  timeout server 5s\n",
        socket.display()
    );
    for (name, check) in checks {
        // By an address that is not this machine's loopback name in a Host header.
        config.push_str(&format!(
            "backend {name}\n  {check}\n  server it {} check inter 200ms fall 1 rise 1\n",
            instance.operations
        ));
    }
    config.push_str(&format!(
        "frontend all\n  bind {}\n  default_backend default\n",
        free_addr()
    ));
    let config = dir.file("haproxy.cfg", &config);
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f", &config]);
    let process = Process::spawn(command).expect("run haproxy, which scripts/test gets");
    let began = Instant::now();
    let up = loop {
        sleep(Duration::from_millis(300)).await;
        let stats = UnixStream::connect(&socket).and_then(|mut stats| {
            stats.write_all(b"show stat\n")?;
            let mut text = String::new();
            stats.read_to_string(&mut text)?;
            Ok(text)
        });
        let stats = stats.unwrap_or_default();
        let of = |name: &str| {
            let line = stats
                .lines()
                .find(|line| line.starts_with(&format!("{name},it,")));
            line.map(|line| line.contains(",UP,") && line.contains("L7OK"))
        };
        let up = checks.map(|(name, _)| (name, of(name)));
        // Long enough for each to have been checked several times.
        if began.elapsed() > Duration::from_secs(3) && up.iter().all(|(_, up)| up.is_some()) {
            break up;
        }
        assert!(began.elapsed() < LONG, "{stats}{:?}", process.output());
    };
    for (name, up) in up {
        // HTTP/1.1 from this machine has to come with a name that it knows.
        assert_eq!(up, Some(name != "ready"), "{name}: {:?}", process.output());
    }
    assert_eq!(instance.ops.lifecycle().phase(), Phase::Ready);
    let _ = fs::remove_file(socket);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs prometheus; scripts/test gets it"]
async fn prometheus_scrapes_by_name_without_a_token_and_with_the_one_for_reading() {
    const TOKEN: &str = "a-token-for-prometheus";
    let open = Instance::start().await;
    let closed = Instance::start_with(|ops| ops.tokens(|tokens| tokens.read(TOKEN))).await;
    for (instance, requests) in [(&open, 2), (&closed, 3)] {
        for _ in 0..requests {
            let mut client = RawHttp1::connect(instance.app).await.unwrap();
            client.send_request("GET", "/", &[], "").await.unwrap();
            let head = client.read_head().await.unwrap();
            client.read_body(&head).await.unwrap();
        }
    }
    let dir = Dir::new("prometheus-by-name");
    let mut config =
        "global: { scrape_interval: 1s, scrape_timeout: 1s }\nscrape_configs:\n".to_owned();
    for (name, instance, token) in [
        ("open", &open, ""),
        ("without", &closed, ""),
        ("wrong", &closed, "not-the-token-for-prometheus"),
        ("with", &closed, TOKEN),
    ] {
        config.push_str(&format!(
            "- job_name: {name}\n\
             \u{20} static_configs: [{{ targets: ['localhost:{}'] }}]\n",
            instance.operations.port()
        ));
        if !token.is_empty() {
            config.push_str(&format!("  authorization: {{ credentials: {token} }}\n"));
        }
    }
    let config = dir.file("prometheus.yml", &config);
    let addr = free_addr();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={config}"))
        .arg(format!(
            "--storage.tsdb.path={}",
            dir.0.join("data").display()
        ))
        .arg(format!("--web.listen-address={addr}"))
        .arg("--log.level=warn");
    let mut process = Process::spawn(command).expect("run prometheus, which scripts/test gets");
    process.wait_accepting(addr, LONG).await;
    for (query, wanted) in [
        ("up{job='open'}", "1"),
        ("up{job='with'}", "1"),
        ("up{job='without'}", "0"),
        ("up{job='wrong'}", "0"),
        ("sum(server_requests_total{job='open'})", "2"),
        ("sum(server_requests_total{job='with'})", "3"),
    ] {
        let wanted = format!("\"{wanted}\"]");
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let began = Instant::now();
        loop {
            let mut client = RawHttp1::connect(addr).await.unwrap();
            let path = format!("/api/v1/query?query={encoded}");
            client.send_request("GET", &path, &[], "").await.unwrap();
            let head = client.read_head().await.unwrap();
            let body = client.read_body(&head).await.unwrap();
            let answer = String::from_utf8_lossy(&body.data).into_owned();
            // One series, whose value is `[time, "value"]`.
            if answer.contains(&wanted) {
                break;
            }
            let output = process.output();
            assert!(began.elapsed() < LONG, "{query}: {answer}\n{output:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }
    process.terminate().unwrap();
    assert!(process.wait_exit(LONG).await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs prometheus-blackbox-exporter; scripts/test runs it"]
async fn blackbox_exporter_probes_it() {
    let instance = Instance::start().await;
    let dir = Dir::new("blackbox");
    let config = dir.file(
        "blackbox.yml",
        "modules:\n\
         \u{20} http: { prober: http, timeout: 1s, http: { preferred_ip_protocol: ip4 } }\n\
         \u{20} json: { prober: http, timeout: 1s, http: { preferred_ip_protocol: ip4, headers: \
         { Accept: application/json }, fail_if_body_not_matches_regexp: ['\"status\":\"ok\"'] } }\n",
    );
    let addr = free_addr();
    let mut command = Command::new("prometheus-blackbox-exporter");
    command
        .arg(format!("--config.file={config}"))
        .arg(format!("--web.listen-address={addr}"));
    let mut process =
        Process::spawn(command).expect("run prometheus-blackbox-exporter, which scripts/test gets");
    process.wait_accepting(addr, LONG).await;
    for (module, path, success) in [
        ("http", "/", 1),
        ("http", "/health", 1),
        ("http", "/metrics", 1),
        ("json", "/ready", 1),
        ("json", "/ready/", 1),
        ("http", "/nothing", 0),
    ] {
        let target = format!("http://{}{path}", instance.operations);
        let mut client = RawHttp1::connect(addr).await.unwrap();
        let path = format!("/probe?module={module}&target={target}");
        client.send_request("GET", &path, &[], "").await.unwrap();
        let head = client.read_head().await.unwrap();
        let body = client.read_body(&head).await.unwrap().data;
        let text = String::from_utf8_lossy(&body);
        assert!(
            text.contains(&format!("\nprobe_success {success}\n")),
            "{module} {target}: {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Python with grpcio, which scripts/test installs"]
async fn a_grpc_client_that_watches_opens_one_watch_and_stays_through_the_pre_drain() {
    let python = std::env::var_os("TOWER_OPS_TEST_PYTHON")
        .expect("TOWER_OPS_TEST_PYTHON: the path of a Python with grpcio");
    for service in ["", "orders.Orders"] {
        let mut instance = Instance::start().await;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/watch.py");
        let mut child = Command::new(&python)
            .args([script, &instance.app.to_string(), service])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let tracker = instance.ops.requests().unwrap().clone();
        let watches = move || tracker.stats().total() + tracker.in_flight_count() as u64;
        assert_eq!(watches(), 1);
        assert!(instance.ops.lifecycle().shutdown());
        // In the midst of the pre-drain.
        sleep(Duration::from_secs(2)).await;
        assert_eq!(watches(), 1, "a watch stays open while the server accepts");
        (&mut instance.serving).await.unwrap();
        // While the listener waits to be quiet, each connection is sent GOAWAY, and the client
        // comes with the next one. That is short.
        assert!(watches() <= 1_000, "{}", watches());
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let mut states = String::new();
        output.read_to_string(&mut states).unwrap();
        assert!(child.wait().unwrap().success());
        // It knows that this server is not to be sent anything.
        assert!(states.contains("TRANSIENT_FAILURE"), "{states}");
    }
}
