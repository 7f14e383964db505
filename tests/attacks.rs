//! slowhttptest against the playground, and beside it against plain `axum::serve`:
//! what other clients feel meanwhile, and how long the attack's connections live.
//!
//! `ATTACKED=plain` attacks plain axum instead and asserts nothing; it prints the
//! same table for comparison:
//!
//! ```text
//! cargo test -p tower-ops-tests --test attacks -- --ignored --nocapture
//! ```
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tower_ops_testing::{Process, RawHttp1, free_addr};
use tower_ops_tests::Service;

const CONNECTIONS: usize = 2_000;

/// How long slowhttptest goes on, unless all its connections are gone before.
const LASTS: Duration = Duration::from_secs(60);

/// How long others are measured before an attack.
const BEFORE: Duration = Duration::from_secs(5);

/// What the playground allows: 30 seconds for a head, 10 without progress; a pass
/// of the reaper on top, and the time that 2,000 connections take to come.
const HEAD: Duration = Duration::from_secs(30 + 8);
const STALL: Duration = Duration::from_secs(10 + 10 + 8);

struct Attack {
    name: &'static str,
    options: &'static [&'static str],
    path: &'static str,
    gone_within: Duration,
}

const ATTACKS: [Attack; 3] = [
    Attack {
        name: "slow headers",
        options: &["-H", "-i", "5"],
        path: "/",
        gone_within: HEAD,
    },
    Attack {
        name: "slow body",
        // With pauses longer than the stall timeout: who sends a little now and then may be an
        // honest client on a bad link, and has the time of the handler.
        options: &["-B", "-i", "15", "-s", "8192", "-x", "10"],
        path: "/echo",
        gone_within: STALL,
    },
    Attack {
        name: "slow read",
        options: &["-X", "-n", "1", "-w", "1", "-y", "512", "-z", "5"],
        path: "/stream/10000/0",
        gone_within: STALL,
    },
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs slowhttptest, and two minutes; scripts/test runs it"]
async fn slow_clients_are_closed_and_nobody_else_feels_them() {
    let plain = env::var("ATTACKED").is_ok_and(|attacked| attacked == "plain");
    println!("attack        most open  gone after  others' p50    p99    max  failed");
    for attack in ATTACKS {
        let felt = if plain {
            let (process, addr) = start_plain().await;
            attack.run(addr, &process).await
        } else {
            let mut playground = Service::start("playground").await;
            let addr = playground.app();
            let felt = attack.run(addr, playground.process()).await;
            let metrics = playground.scrape().await;
            assert_eq!(metrics.count("server_in_flight_requests", &[]), 0);
            // slowhttptest's own, of which it keeps one to see whether we answer.
            assert!(metrics.count("server_active_connections", &[]) <= 2);
            felt
        };
        if plain {
            continue;
        }
        let name = attack.name;
        assert!(felt.most >= CONNECTIONS, "{name}: only {} came", felt.most);
        let gone = felt.gone.unwrap_or_else(|| panic!("{name}: still there"));
        assert!(gone <= attack.gone_within, "{name}: gone after {gone:?}");
        assert_eq!(felt.failed, 0, "{name}");
        // Against the same before the attack, on the same machine.
        let limit = Duration::from_millis(50).max(5 * felt.before);
        assert!(
            felt.p99 < limit,
            "{name}: {:?}, and {:?} before",
            felt.p99,
            felt.before
        );
    }
}

struct Felt {
    most: usize,
    gone: Option<Duration>,
    /// The same 99th percentile, before the attack.
    before: Duration,
    p99: Duration,
    failed: usize,
}

impl Attack {
    async fn run(&self, addr: SocketAddr, server: &Process) -> Felt {
        let others = Others::start(addr);
        sleep(BEFORE).await;
        let mut before = others.stop().await.latencies;
        before.sort_unstable();
        let before = before[(before.len() - 1) * 99 / 100];
        let others = Others::start(addr);
        let mut command = Command::new("slowhttptest");
        command
            .args(self.options)
            .args(["-c", &CONNECTIONS.to_string(), "-r", "1000", "-p", "5"])
            .args(["-l", &LASTS.as_secs().to_string()])
            .args(["-u", &format!("http://{addr}{}", self.path)]);
        let started = Instant::now();
        let attacker = Process::spawn(command).unwrap();
        let (mut most, mut gone) = (0, None);
        while gone.is_none() && started.elapsed() < LASTS {
            sleep(Duration::from_millis(250)).await;
            let open = sockets(server.id());
            most = most.max(open);
            if most >= CONNECTIONS && open < CONNECTIONS / 100 {
                gone = Some(started.elapsed());
            }
        }
        drop(attacker);
        let mut others = others.stop().await;
        others.latencies.sort_unstable();
        let at = |share: usize| others.latencies[(others.latencies.len() - 1) * share / 100];
        println!(
            "{:<13} {most:>9}  {:>9}  {:>10.1}  {:>5.1}  {:>5.1}  {:>6}",
            self.name,
            gone.map_or_else(
                || "never".into(),
                |gone| format!("{:.1} s", gone.as_secs_f64())
            ),
            millis(at(50)),
            millis(at(99)),
            millis(at(100)),
            others.failed,
        );
        Felt {
            most,
            gone,
            before,
            p99: at(99),
            failed: others.failed,
        }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// How many sockets a process has open: counted from outside, so that it is
/// the same measure for every server.
fn sockets(pid: u32) -> usize {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

async fn start_plain() -> (Process, SocketAddr) {
    let addr = free_addr();
    let mut command = Command::new(env!("CARGO_BIN_EXE_plain_axum"));
    command.env("APP_ADDR", addr.to_string());
    let mut process = Process::spawn(command).unwrap();
    process.wait_accepting(addr, Duration::from_secs(10)).await;
    (process, addr)
}

/// The clients that mean well: 100 requests a second, each on a new connection or
/// on one that is kept.
struct Others {
    task: JoinHandle<Latencies>,
    stop: tokio::sync::watch::Sender<()>,
}

#[derive(Default)]
struct Latencies {
    latencies: Vec<Duration>,
    failed: usize,
}

impl Others {
    fn start(addr: SocketAddr) -> Self {
        let (stop, stopped) = tokio::sync::watch::channel(());
        let task = tokio::spawn(async move {
            let mut seen = Latencies::default();
            let mut kept = None;
            let mut due = Instant::now();
            while stopped.has_changed().is_ok() {
                due += Duration::from_millis(10);
                sleep_until(due).await;
                // From when it was due: a client that waits must not hide that
                // others would have had to wait as well.
                let fresh = seen.latencies.len() % 2 == 0;
                let client = if fresh { None } else { kept.take() };
                match ask(addr, client).await {
                    Ok(client) => kept = Some(client),
                    Err(_) => seen.failed += 1,
                }
                seen.latencies.push(due.elapsed());
            }
            seen
        });
        Self { task, stop }
    }

    async fn stop(self) -> Latencies {
        drop(self.stop);
        self.task.await.unwrap()
    }
}

async fn ask(addr: SocketAddr, client: Option<RawHttp1>) -> std::io::Result<RawHttp1> {
    let mut client = match client {
        Some(client) => client,
        None => RawHttp1::connect(addr).await?,
    };
    client.send_request("GET", "/", &[], "").await?;
    let head = client.read_head().await?;
    client.read_body(&head).await?;
    Ok(client)
}
