//! What a signal does to a process whose `Ops` is over: what it does to any other.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]
#![allow(clippy::print_stdout, reason = "so does the child tell how far it is")]

use std::env;
use std::future::pending;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tower_ops::Ops;
use tower_ops_testing::Process;

const SOON: Duration = Duration::from_secs(20);

fn ops() -> Ops {
    Ops::builder("test")
        .private_recorder()
        .ops_addr("127.0.0.1:0")
        .lifecycle(|lifecycle| lifecycle.pre_drain(Duration::ZERO))
        .build()
        .unwrap()
}

async fn serve(ops: &Ops, stop: impl Future<Output = ()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = Router::new().layer(ops.layer());
    ops.serve_until(listener, app, stop).await.unwrap();
}

/// Not a test, but the process that the tests send signals to.
#[tokio::test]
#[ignore = "a process of its own"]
async fn child() {
    let Ok(case) = env::var("CASE") else { return };
    let ops = ops();
    match &*case {
        "served" => serve(&ops, sleep(Duration::from_millis(50))).await,
        "dropped while serving" => {
            let _ = tokio::time::timeout(Duration::from_millis(50), serve(&ops, pending())).await;
            drop(ops);
        }
        "never served" => {
            drop(ops.start_operations().unwrap());
            drop(ops);
        }
        _ => panic!("{case}"),
    }
    println!("goes on");
    sleep(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn signals_end_the_process_again_when_nothing_listens_to_them() {
    for case in ["served", "dropped while serving", "never served"] {
        for (name, number) in [("TERM", 15), ("INT", 2)] {
            let mut command = Command::new(env::current_exe().unwrap());
            let arguments = ["--exact", "child", "--ignored", "--nocapture"];
            command.args(arguments).env("CASE", case);
            let mut process = Process::spawn(command).unwrap();
            process.wait_output("goes on", SOON).await;
            process.signal(name).unwrap();
            let status = process.wait_exit(SOON).await;
            assert_eq!(status.signal(), Some(number), "{case}, SIG{name}: {status}");
        }
    }
}
