use std::net::TcpListener;

use super::*;
use crate::free_addr;

const LONG: Duration = Duration::from_secs(10);

fn shell(script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]).env("GREETING", "hello");
    Process::spawn(command).unwrap()
}

#[tokio::test]
async fn output_and_status_are_complete_after_the_exit() {
    let mut process = shell(r#"echo "$GREETING"; echo oops >&2; exit 3"#);
    let status = process.wait_exit(LONG).await;
    assert_eq!(status.code(), Some(3));
    let mut output = process.output();
    output.sort();
    assert_eq!(output, ["hello", "oops"]);
    process.terminate().unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn terminate_can_be_caught() {
    let mut process = shell("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.02; done");
    assert_eq!(process.wait_output("up", LONG).await, "up");
    process.terminate().unwrap();
    assert_eq!(process.wait_exit(LONG).await.code(), Some(7));
    assert_eq!(process.output(), ["up", "bye"]);
}

#[tokio::test]
async fn waits_until_something_accepts() {
    let addr = free_addr();
    let mut process = shell("exec sleep 60");
    let binding = tokio::spawn(async move {
        tokio::task::yield_now().await;
        TcpListener::bind(addr).unwrap()
    });
    process.wait_accepting(addr, LONG).await;
    binding.await.unwrap();
}

#[tokio::test]
#[should_panic(expected = "broken config")]
async fn an_early_exit_fails_the_wait_with_the_output() {
    let mut process = shell("echo broken config >&2; exit 1");
    process.wait_exit(LONG).await;
    let refusing = SocketAddr::from(([127, 0, 0, 1], 1));
    process.wait_accepting(refusing, LONG).await;
}

#[tokio::test]
#[should_panic(expected = "exited")]
async fn a_line_that_never_comes_fails_the_wait() {
    shell("echo other").wait_output("wanted", LONG).await;
}

#[tokio::test]
#[should_panic(expected = "waited in vain")]
async fn the_deadline_holds() {
    let mut process = shell("exec sleep 60");
    process.wait_exit(Duration::from_millis(30)).await;
}

#[cfg(unix)]
#[test]
fn dropping_kills() {
    let process = shell("exec sleep 60");
    let id = process.id().to_string();
    drop(process);
    let alive = Command::new("sh")
        .args(["-c", r#"kill -0 "$1" 2>/dev/null"#, "sh", &id])
        .status()
        .unwrap();
    assert!(!alive.success());
}
