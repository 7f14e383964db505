//! What the quickstart promises of its size. That it does what its header says is tried by
//! `tests/examples.rs`, which needs the program that is built beside this test.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::collections::BTreeSet;
use std::process::Command;

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
    ] {
        assert!(!crates.contains(unwanted), "{unwanted}");
    }
}
