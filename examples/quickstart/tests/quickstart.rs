//! Holds the quickstart to its size and its first log lines. Its header is tried by
//! `tests/examples.rs`, which needs the program that is built beside this test.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use tower_ops_testing::Process;

#[test]
fn it_has_at_most_30_lines_of_code() {
    let source = include_str!("../src/main.rs");
    let code = source
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"));
    let lines = code.count();
    assert!(lines <= 30, "{lines} lines");
}

#[test]
fn its_tree_has_no_databases_and_no_grpc_and_no_tls() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}"])
        .args(["--package", env!("CARGO_PKG_NAME")])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let text = String::from_utf8(output.stdout).unwrap();
    let crates: BTreeSet<_> = { text.lines() }
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(crates.contains("tower-ops"), "{crates:?}");
    assert!(crates.len() <= 130, "{} crates: {crates:#?}", crates.len());
    for unwanted in [
        "sqlx",
        "libsqlite3-sys",
        "redis",
        "tonic",
        "rustls",
        "prost",
        "opentelemetry",
    ] {
        assert!(!crates.contains(unwanted), "{unwanted}");
    }
}

const LONG: Duration = Duration::from_secs(20);

fn start(ops_addr: &str) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    command
        .env("APP_ADDR", "127.0.0.1:0")
        .env("OPS_ADDR", ops_addr);
    command.env("NO_COLOR", "1").env_remove("RUST_LOG");
    command.env_remove("LOG_FORMAT");
    Process::spawn(command).unwrap()
}

#[tokio::test]
async fn its_log_begins_with_what_happens_and_names_the_addresses_once_they_are_open() {
    let mut process = start("127.0.0.1:0");
    let line = process.wait_output("serving name=", LONG).await;
    for name in ["app=", "operations="] {
        let (_, rest) = line.split_once(name).expect(name);
        let addr: SocketAddr = rest.split(' ').next().unwrap().parse().unwrap();
        assert_ne!(addr.port(), 0, "{line}");
        TcpStream::connect(addr).expect(name);
    }
    // Nothing is lost by the recorder that is installed: no word about it.
    let output = process.output().join("\n");
    assert!(!output.contains("recorder"), "{output}");
}

#[tokio::test]
async fn each_request_is_one_line_of_its_log() {
    let mut process = start("127.0.0.1:0");
    let line = process.wait_output("serving name=", LONG).await;
    let (_, rest) = line.split_once("app=").unwrap();
    let app = rest.split(' ').next().unwrap();
    let mut client = TcpStream::connect(app).unwrap();
    let head = "host: x\r\nx-request-id: demo-1\r\nconnection: close";
    write!(client, "GET /users/42 HTTP/1.1\r\n{head}\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("user 42\n"), "{answer}");
    process.wait_output("request_id=demo-1", LONG).await;
    let output = process.output();
    let lines = output.iter().filter(|line| line.contains("demo-1"));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), 1, "{output:#?}");
    for part in [
        "tower_ops::access: ",
        "route=/users/{id} ",
        "status=200 ",
        "trace_id=",
    ] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_never_logged_as_open() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let mut process = start(&addr);
    assert!(!process.wait_exit(LONG).await.success());
    let output = process.output().join("\n");
    assert!(
        output.contains(&format!("cannot listen on {addr}")),
        "{output}"
    );
    assert!(!output.contains("serving"), "{output}");
    assert!(!output.contains("http://"), "{output}");
}
