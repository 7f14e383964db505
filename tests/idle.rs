//! What 20,000 idle connections cost beyond hyper's own: the same accept loop with
//! and without tracking, as processes, by their resident memory.
//!
//! ```text
//! cargo test --release -p tower-ops-tests --test idle -- --ignored --nocapture
//! ```
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tower_ops_testing::{Process, free_addr};

/// Two clients with half of them each; the limit of open files holds for each
/// process, and should be at least 20,100.
const CONNECTIONS: usize = 20_000;
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
#[ignore = "needs 20,100 open files; scripts/test runs it"]
async fn an_idle_connection_costs_less_than_a_kibibyte_more() {
    let limit = open_files();
    let connections = CONNECTIONS.min(limit - 100);
    let mut each = Vec::new();
    for mode in ["bare", "tracked", "server"] {
        let (server, addr) = start(mode).await;
        // Once, so that what is allocated only once is not counted.
        let warm = connect(addr, 50).await;
        let before = resident(server.id());
        let clients = [
            connect(addr, connections / 2).await,
            connect(addr, connections / 2).await,
        ];
        let after = resident(server.id());
        each.push((after - before) / connections);
        println!(
            "{mode:>8}: {connections} connections, {} bytes each",
            (after - before) / connections
        );
        drop((warm, clients));
    }
    let more = each[1].saturating_sub(each[0]);
    println!("tracking costs {more} bytes for each connection");
    assert!(more <= 1_024, "{more}");
    let more = each[2].saturating_sub(each[0]);
    println!("the accept loop costs {more} bytes for each connection");
    assert!(more <= 1_024, "{more}");
}

async fn start(mode: &str) -> (Process, SocketAddr) {
    let addr = free_addr();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hyper_loop"));
    command.arg(mode).env("APP_ADDR", addr.to_string());
    let mut server = Process::spawn(command).unwrap();
    server.wait_accepting(addr, DEADLINE).await;
    (server, addr)
}

async fn connect(addr: SocketAddr, count: usize) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hyper_loop"));
    command
        .args(["connect", &count.to_string()])
        .env("APP_ADDR", addr.to_string());
    let mut client = Process::spawn(command).unwrap();
    client.wait_output("connected", DEADLINE).await;
    client
}

fn field(path: &str, name: &str, column: usize) -> usize {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    let rest = line.trim_start_matches(name).split_whitespace();
    rest.into_iter().nth(column).unwrap().parse().unwrap()
}

/// In bytes.
fn resident(pid: u32) -> usize {
    field(&format!("/proc/{pid}/status"), "VmRSS:", 0) * 1_024
}

fn open_files() -> usize {
    field("/proc/self/limits", "Max open files", 0)
}
