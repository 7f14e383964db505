//! What a signal does to a process whose `Ops` is over: what it does to any other.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]
#![allow(clippy::print_stdout, reason = "the parent reads how far it is")]

use std::env;
use std::future::pending;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tower_ops::{Ops, OpsBuilder};
use tower_ops_testing::Process;

const SOON: Duration = Duration::from_secs(20);

fn builder() -> OpsBuilder {
    Ops::builder("test")
        .private_recorder()
        .ops_addr("127.0.0.1:0")
        .lifecycle(|lifecycle| lifecycle.pre_drain(Duration::ZERO))
}

fn ops() -> Ops {
    builder().build().unwrap()
}

/// With a state file: the hook that writes it has the state, which asks for the process, which
/// has the hook. `kept` is a part of the state.
fn ops_with_state_file(kept: Arc<()>) -> (Ops, PathBuf) {
    let name = format!("tower-ops-signals-{}.json", std::process::id());
    let file = env::temp_dir().join(name);
    let path = file.clone();
    let builder = builder().state(move |state| {
        let get = move || {
            let _ = &kept;
            7_u32
        };
        let state = state.token("a-token-of-more-than-16-characters");
        state.single(get, |_: u32| Ok(())).file(path)
    });
    (builder.state_before_ready().build().unwrap(), file)
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
        "never served, with a state file" => {
            let (ops, _) = ops_with_state_file(Arc::default());
            drop(ops.start_operations().unwrap());
            drop(ops);
        }
        "served, with a state file" => {
            let (ops, file) = ops_with_state_file(Arc::default());
            serve(&ops, sleep(Duration::from_millis(50))).await;
            drop(ops);
            std::fs::remove_file(file).unwrap();
        }
        _ => panic!("{case}"),
    }
    println!("goes on");
    sleep(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn signals_end_the_process_again_when_nothing_listens_to_them() {
    for case in [
        "served",
        "dropped while serving",
        "never served",
        "served, with a state file",
        "never served, with a state file",
    ] {
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

#[tokio::test]
async fn nothing_of_a_state_with_a_file_outlives_the_bundle() {
    let kept = Arc::new(());
    let (ops, _) = ops_with_state_file(Arc::clone(&kept));
    assert_eq!(Arc::strong_count(&kept), 2);
    drop(ops);
    assert_eq!(Arc::strong_count(&kept), 1, "what has the state is kept");
}
