//! Programs that log: their environment, their end, and readers that are gone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::io::Read;
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;
use tower_ops_testing::Process;

fn example(format: &str, filter: &str) -> Command {
    let mut command = Process::example("log_lines");
    command.env("LOG_FORMAT", format).env("RUST_LOG", filter);
    command
}

fn lines(output: &Output) -> Vec<&str> {
    str::from_utf8(&output.stdout).unwrap().lines().collect()
}

#[test]
fn the_log_goes_to_standard_output_and_what_is_for_people_to_standard_error() {
    let output = example("", "").output().unwrap();
    let lines = lines(&output);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].ends_with(" INFO log_lines: an order came in items=3 order=7"),
        "{lines:?}"
    );
    assert!(
        lines[1].ends_with(" WARN log_lines: that was all"),
        "{lines:?}"
    );
    let errors = str::from_utf8(&output.stderr).unwrap();
    assert_eq!(errors, "what is for a person goes to standard error\n");
}

#[test]
fn the_environment_chooses_format_and_filter() {
    let output = example("json", "debug").output().unwrap();
    let lines: Vec<Json> = lines(&output)
        .into_iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1]["message"], "only with RUST_LOG=debug");
    assert_eq!(lines[1]["order"], 7);
}

#[test]
fn a_bad_environment_is_logged_and_the_defaults_are_used() {
    let output = example("xml", "a[b]=debug").output().unwrap();
    assert!(output.status.success());
    let lines = lines(&output);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].contains("WARN tower_ops::logs: the default settings are used"),
        "{lines:?}"
    );
    assert!(
        lines[0].contains("LOG_FORMAT: not one of text, json, ecs and gcp"),
        "{lines:?}"
    );
    assert!(
        lines[0].contains("RUST_LOG: directive 1: spans and fields"),
        "{lines:?}"
    );
}

#[test]
fn every_line_is_written_before_the_end() {
    let output = example("json", "").arg("20000").output().unwrap();
    let lines = lines(&output);
    assert_eq!(lines.len(), 20_002);
    let last: Json = serde_json::from_str(lines[20_001]).unwrap();
    assert_eq!(last["message"], "that was all");
}

#[test]
fn a_reader_that_is_gone_ends_nothing() {
    let mut command = example("json", "");
    command
        .arg("20000")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 100]).unwrap();
    drop(stdout);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_reader_that_does_not_read_holds_the_end_up_for_the_timeout_only() {
    let mut command = example("json", "");
    command
        .arg("20000")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    // Without a bound this would wait for ever.
    assert!(child.wait().unwrap().success());
    let mut errors = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut errors)
        .unwrap();
    assert!(
        errors.ends_with("some log lines were not written: the output took none for 2s\n"),
        "{errors}"
    );
    drop(stdout);
}
