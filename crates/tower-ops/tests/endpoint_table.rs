//! Who gets what from the operations endpoint: every path, method and caller, asked of a running
//! one. The table is checked in; `UPDATE_TABLE=1` writes it anew.
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tower_ops::Ops;
use tower_ops::health::Check;
use tower_ops::lifecycle::Phase;
use tower_ops::logs::Logs;
use tower_ops_testing::{RawHttp1, free_addr};

const READ: &str = "a-token-to-look-at-things";
const WRITE: &str = "a-token-to-change-things";
const LONG: Duration = Duration::from_secs(20);

const PATHS: [&str; 22] = [
    "/",
    "/info",
    "/metrics",
    "/health",
    "/health/ping",
    "/health/db",
    "/health/nothing",
    "/health/readiness",
    "/ready",
    "/ready/",
    "/startup",
    "/checks",
    "/requests",
    "/requests/history",
    "/requests/stats",
    "/loglevel",
    "/logs",
    "/connections",
    "/connections/1",
    "/prestop",
    "/state",
    "/state?fence=1",
];
const METHODS: [&str; 6] = ["GET", "HEAD", "OPTIONS", "POST", "DELETE", "PUT"];
const CALLERS: [&str; 4] = ["nobody", "read", "write", "browser across sites"];

struct Instance {
    ops: Ops,
    operations: SocketAddr,
    state: Arc<Mutex<u32>>,
    logs: Logs,
    serving: JoinHandle<()>,
    /// Number 1 of its connections.
    _client: TcpStream,
}

impl Instance {
    async fn start() -> Self {
        let operations = free_addr();
        let state = Arc::new(Mutex::new(7));
        let (get, set) = (Arc::clone(&state), Arc::clone(&state));
        let logs = Logs::builder().environment(false).ring(64 * 1024);
        let logs = logs.writer(io::sink()).build().unwrap();
        let ops = Ops::builder("orders")
            .logs(logs.clone())
            .private_recorder()
            .ops_addr(operations.to_string())
            .check(Check::always_ok("db"))
            .tokens(|tokens| tokens.read(READ).write(WRITE))
            .lifecycle(|life| life.pre_drain(Duration::ZERO).signals(false))
            .state(move |state| {
                state.token(WRITE).single(
                    move || *get.lock().unwrap(),
                    move |value: u32| {
                        *set.lock().unwrap() = value;
                        Ok(())
                    },
                )
            })
            .build()
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = listener.local_addr().unwrap();
        let serving = tokio::spawn({
            let ops = ops.clone();
            async move {
                ops.serve(listener, Router::new()).await.unwrap();
            }
        });
        let mut client = TcpStream::connect(app).await.unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: it\r\n\r\n")
            .await
            .unwrap();
        let began = Instant::now();
        let up = async |ops: &Ops| {
            ops.connections().len() == 1 && TcpStream::connect(operations).await.is_ok()
        };
        while !up(&ops).await || ops.lifecycle().phase() != Phase::Ready {
            assert!(began.elapsed() < LONG);
            sleep(Duration::from_millis(5)).await;
        }
        // Until the first run of the check is known.
        while ask(operations, "GET", "/ready", "nobody").await != 200 {
            assert!(began.elapsed() < LONG);
            sleep(Duration::from_millis(5)).await;
        }
        Self {
            ops,
            operations,
            state,
            logs,
            serving,
            _client: client,
        }
    }

    /// What has become of it, beyond an answer.
    async fn effect(&self) -> Option<&'static str> {
        // A connection that is closed is gone a moment later.
        sleep(Duration::from_millis(1)).await;
        if self.ops.lifecycle().phase() > Phase::Ready {
            Some("stops")
        } else if self.ops.state().unwrap().fence().is_closed() {
            Some("hands over")
        } else if *self.state.lock().unwrap() != 7 {
            Some("restores")
        } else if self.logs.filter() != "info" {
            Some("logs more")
        } else {
            None
        }
    }

    async fn hands_over(&self) -> bool {
        timeout(LONG, async {
            while !self.ops.state().unwrap().fence().is_closed() {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .is_ok()
    }

    async fn closes(&self) -> bool {
        timeout(LONG, async {
            while !self.ops.connections().is_empty() {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .is_ok()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn ask(addr: SocketAddr, method: &str, path: &str, caller: &str) -> u16 {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost:8080\r\n");
    let token = match caller {
        "read" => Some(READ),
        "nobody" => None,
        _ => Some(WRITE),
    };
    if let Some(token) = token {
        write!(head, "authorization: Bearer {token}\r\n").unwrap();
    }
    if caller.starts_with("browser") {
        head.push_str("origin: http://evil.example\r\nsec-fetch-site: cross-site\r\n");
    }
    let body = if path == "/loglevel" && method == "PUT" {
        "debug"
    } else {
        ""
    };
    let length = if ["POST", "PUT"].contains(&method) {
        format!("content-length: {}\r\n", body.len())
    } else {
        String::new()
    };
    let mut client = RawHttp1::connect(addr).await.unwrap();
    client
        .send(format!("{head}{length}\r\n{body}"))
        .await
        .unwrap();
    let head = timeout(LONG, client.read_head())
        .await
        .expect("an answer")
        .unwrap();
    assert_eq!(
        head.headers["x-content-type-options"], "nosniff",
        "{method} {path}"
    );
    let cache = head.headers["cache-control"].to_str().unwrap();
    assert!(cache.contains("no-store"), "{method} {path}: {cache}");
    if method == "OPTIONS" || head.status == 405 {
        assert!(head.headers.contains_key("allow"), "{method} {path}");
    }
    if (method, path) == ("GET", "/state?fence=1") {
        // A client that leaves before the end of the body has taken nothing over.
        client.read_body(&head).await.unwrap();
    }
    head.status.as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_path_method_and_caller_is_as_the_table_says() {
    let mut table = format!(
        "| path | method | {} |\n|---|---|---|---|---|---|\n",
        CALLERS.join(" | ")
    );
    let mut instance = Instance::start().await;
    for path in PATHS {
        for method in METHODS {
            let mut row = format!("| `{path}` | {method} |");
            for caller in CALLERS {
                let mut status = ask(instance.operations, method, path, caller).await;
                // One capture at a time: the one before was dropped after its head.
                while status == 409 && method == "GET" {
                    sleep(Duration::from_millis(5)).await;
                    status = ask(instance.operations, method, path, caller).await;
                }
                let mut effect = instance.effect().await;
                if status == 202 {
                    effect = instance.closes().await.then_some("closes");
                }
                // The hand-over is done just after the body was taken.
                if (status, method, path) == (200, "GET", "/state?fence=1") {
                    effect = instance.hands_over().await.then_some("hands over");
                }
                let effect = match effect {
                    Some(effect) => {
                        instance = Instance::start().await;
                        format!(", {effect}")
                    }
                    None => String::new(),
                };
                assert!(effect.is_empty() || method != "OPTIONS");
                assert!(effect.is_empty() || !caller.starts_with("browser"));
                write!(row, " {status}{effect} |").unwrap();
            }
            table.push_str(&row);
            table.push('\n');
        }
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/endpoint_table.md");
    let intro = "Who gets what from the operations endpoint, with a read token and a write token \
                 set, generated\nby `tests/endpoint_table.rs` from a running one.\n\n";
    let table = format!("{intro}{table}");
    if std::env::var_os("UPDATE_TABLE").is_some() {
        std::fs::write(file, &table).unwrap();
    }
    let known = std::fs::read_to_string(file).unwrap();
    assert_eq!(known, table, "UPDATE_TABLE=1 writes it anew");
}
