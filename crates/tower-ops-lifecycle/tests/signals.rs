//! Real signals, to a real process: the example `graceful`.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use http::StatusCode;
use tower_ops_testing::{Process, RawHttp1, free_addr};

const SOON: Duration = Duration::from_secs(20);

async fn start(pre_drain_ms: u64) -> (Process, SocketAddr) {
    let addr = free_addr();
    let mut command = Process::example("graceful");
    command.env("ADDR", addr.to_string());
    command.env("PRE_DRAIN_MS", pre_drain_ms.to_string());
    let mut process = Process::spawn(command).unwrap();
    process.wait_accepting(addr, SOON).await;
    process.wait_output("ready after", SOON).await;
    (process, addr)
}

async fn get(addr: SocketAddr, path: &str) -> StatusCode {
    let mut client = RawHttp1::connect(addr).await.unwrap();
    client.send_request("GET", path, &[], "").await.unwrap();
    client.read_head().await.unwrap().status
}

#[tokio::test]
async fn a_signal_lets_it_serve_drain_and_run_its_hooks() {
    for signal in ["TERM", "INT"] {
        let (mut process, addr) = start(700).await;
        let mut slow = RawHttp1::connect(addr).await.unwrap();
        slow.send_request("GET", "/slow", &[], "").await.unwrap();
        process.signal(signal).unwrap();
        process.wait_output("pre_draining", SOON).await;
        assert_eq!(get(addr, "/").await, 200, "it still serves");

        assert_eq!(slow.read_head().await.unwrap().status, 200);
        let status = process.wait_exit(SOON).await;
        let output = process.output();
        assert!(status.success(), "{status}: {output:#?}");
        let report = output.iter().find(|line| line.starts_with("shutdown by"));
        let report = report.unwrap_or_else(|| panic!("{output:#?}"));
        assert!(report.starts_with(&format!("shutdown by SIG{signal}: clean")));
        let hooks: Vec<_> = output.iter().filter(|it| it.starts_with("hook ")).collect();
        assert_eq!(hooks, ["hook pool", "hook telemetry"]);
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_with_a_report() {
    for (first, second, code) in [("TERM", "TERM", 143), ("TERM", "INT", 130)] {
        let (mut process, _) = start(15_000).await;
        process.signal(first).unwrap();
        process.wait_output("pre_draining", SOON).await;
        let began = tokio::time::Instant::now();
        process.signal(second).unwrap();
        let status = process.wait_exit(SOON).await;
        assert!(began.elapsed() < Duration::from_secs(10), "not at once");
        let output = process.output();
        assert_eq!(status.code(), Some(code), "{output:#?}");
        assert_eq!(status.signal(), None, "it exits, and is not killed");
        let ended = format!("shutdown by SIG{first}: ended at once by another SIG{second}");
        let reports: Vec<_> = output.iter().filter(|it| it.starts_with(&ended)).collect();
        assert_eq!(reports.len(), 1, "{output:#?}");
        assert!(
            output
                .iter()
                .any(|it| it.contains("pool") && it.contains("not run"))
        );
        assert!(!output.iter().any(|it| it.starts_with("hook ")));
    }
}

#[tokio::test]
async fn a_prestop_hook_and_then_the_signal_are_one_shutdown() {
    let (mut process, addr) = start(700).await;
    // The kubelet's order: the hook, and when it is answered the signal.
    assert_eq!(get(addr, "/prestop").await, 200);
    process.terminate().unwrap();
    let status = process.wait_exit(SOON).await;
    let output = process.output();
    assert!(status.success(), "{status} {output:#?}");
    let clean = |line: &String| line.starts_with("shutdown by prestop: clean");
    assert!(output.iter().any(clean), "{output:#?}");
}
