//! A process that is killed while it writes its file leaves the old state or the new
//! one, whole. The child is this test binary, started again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]
#![cfg(unix)]

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use tower_ops_state::State;

const KILLS: u64 = 200;
const DIRECTORY: &str = "STATE_KILL_TEST_DIRECTORY";
/// Large enough that most of the time goes into writing.
const LENGTH: usize = 40_000;

type Numbers = Arc<Mutex<Vec<u64>>>;

fn state(directory: &Path, numbers: &Numbers) -> State {
    let (get, set) = (Arc::clone(numbers), Arc::clone(numbers));
    State::builder("numbers", "1")
        .single(
            move || get.lock().unwrap().clone(),
            move |numbers| {
                *set.lock().unwrap() = numbers;
                Ok(())
            },
        )
        .file(directory.join("state.json"))
        .build()
        .unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
#[ignore = "the child of the test below: it writes until it is killed"]
fn child() {
    let directory = env::var(DIRECTORY).expect("started by the test below");
    let numbers = Numbers::default();
    let state = state(directory.as_ref(), &numbers);
    runtime().block_on(async {
        state.restore_file().await.unwrap();
        let first = numbers.lock().unwrap().first().map_or(0, |first| first + 1);
        for number in first.. {
            *numbers.lock().unwrap() = vec![number; LENGTH];
            state.save_file().await.unwrap();
            writeln!(std::io::stdout(), "saved {number}").unwrap();
        }
    });
}

#[test]
fn killed_while_it_writes_it_leaves_the_old_or_the_new_state() {
    let directory = tempfile::tempdir().unwrap();
    let mut while_writing = 0;
    let mut last_found = None;
    for kill in 0..KILLS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut saved = None;
        let number = |line: &str| line.strip_prefix("saved ")?.parse::<u64>().ok();
        while saved.is_none() {
            saved = number(&lines.next().unwrap().unwrap());
        }
        // Some time within the next writes: spread, and the same each run.
        sleep(Duration::from_micros(kill * 7919 % 30_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let reported = lines.map_while(Result::ok).filter_map(|line| number(&line));
        let saved = reported.last().or(saved).unwrap();

        let entries = std::fs::read_dir(directory.path()).unwrap();
        let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        while_writing += u64::from(names.len() == 2);
        let numbers = Numbers::default();
        let state = state(directory.path(), &numbers);
        let restored = runtime().block_on(state.restore_file());
        assert!(restored.unwrap().is_some(), "kill {kill}: {names:?}");
        let numbers = numbers.lock().unwrap();
        assert_eq!(numbers.len(), LENGTH);
        let found = numbers[0];
        assert!(numbers.iter().all(|number| *number == found));
        // What was reported as saved is there; what was being saved may be there.
        assert!(found == saved || found == saved + 1, "{found}, {saved}");
        assert!(last_found < Some(found));
        last_found = Some(found);
    }
    let entries = std::fs::read_dir(directory.path()).unwrap();
    let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(
        names,
        ["state.json"],
        "nothing was refused, nothing is left over"
    );
    eprintln!("{KILLS} kills, {while_writing} of them while a file was half written");
    assert!(while_writing > KILLS / 20, "{while_writing}");
}
