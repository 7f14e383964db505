//! What a crate brings along when it is added alone.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn request_id_alone_brings_at_most_20_crates() {
    let crates = tree("tower-ops-request-id");
    assert!(crates.len() <= 20, "{} crates: {crates:#?}", crates.len());
    for unwanted in ["axum", "tonic", "opentelemetry", "hyper"] {
        assert!(
            !crates.iter().any(|name| name.starts_with(unwanted)),
            "{unwanted}"
        );
    }
}

#[test]
fn no_crate_depends_on_its_own_floor_or_above() {
    // Each crate by floor, and what of ours it may bring along.
    let houses: [(&str, &[&str]); 16] = [
        ("tower-ops-core", &[]),
        // Floor 1.
        ("tower-ops-observe", &["tower-ops-core"]),
        ("tower-ops-connections", &["tower-ops-core"]),
        ("tower-ops-lifecycle", &["tower-ops-core"]),
        ("tower-ops-resources", &["tower-ops-core"]),
        // Floor 2.
        ("tower-ops-admin", &["tower-ops-core"]),
        (
            "tower-ops-request-id",
            &["tower-ops-core", "tower-ops-observe"],
        ),
        ("tower-ops-trace", &["tower-ops-core", "tower-ops-observe"]),
        (
            "tower-ops-metrics",
            &["tower-ops-core", "tower-ops-observe"],
        ),
        (
            "tower-ops-requests",
            &["tower-ops-core", "tower-ops-observe"],
        ),
        ("tower-ops-health", &["tower-ops-core", "tower-ops-observe"]),
        ("tower-ops-state", &["tower-ops-core", "tower-ops-observe"]),
        ("tower-ops-logs", &["tower-ops-core", "tower-ops-observe"]),
        // Floor 3.
        (
            "tower-ops-health-checks",
            &["tower-ops-core", "tower-ops-health", "tower-ops-observe"],
        ),
        (
            "tower-ops-otel",
            &["tower-ops-core", "tower-ops-observe", "tower-ops-trace"],
        ),
        (
            "tower-ops",
            &[
                "tower-ops-admin",
                "tower-ops-connections",
                "tower-ops-core",
                "tower-ops-health",
                "tower-ops-health-checks",
                "tower-ops-lifecycle",
                "tower-ops-metrics",
                "tower-ops-observe",
                "tower-ops-request-id",
                "tower-ops-requests",
                "tower-ops-resources",
                "tower-ops-state",
                "tower-ops-trace",
            ],
        ),
    ];
    for name in published() {
        let listed = houses.iter().any(|(house, _)| *house == name);
        assert!(listed, "{name} has no floor");
    }
    for (name, allowed) in houses {
        for found in tree(name) {
            let ours = found.starts_with("tower-ops") && found != name;
            assert!(
                !ours || allowed.contains(&found.as_str()),
                "{name} needs {found}"
            );
        }
    }
}

/// What `cargo publish` would upload: the licences ask for their text to come along.
#[test]
fn every_package_carries_both_licence_texts() {
    for name in published() {
        let path = crates().join(name);
        let output = Command::new(env!("CARGO"))
            .args(["package", "--list", "--offline", "--allow-dirty"])
            .current_dir(&path)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {error}", path.display());
        let listed = String::from_utf8(output.stdout).unwrap();
        for file in ["LICENSE-MIT", "LICENSE-APACHE", "README.md"] {
            let there = listed.lines().any(|line| line == file);
            assert!(there, "{}: {file} is not in {listed}", path.display());
            // A link whose target is there, and not one that a copy would break.
            assert!(!fs::read_to_string(path.join(file)).unwrap().is_empty());
        }
    }
}

/// The folder that holds this project's crates, each in a folder of its name.
fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates")
}

/// The names of the crates that are published.
fn published() -> Vec<String> {
    fs::read_dir(crates())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let manifest = fs::read_to_string(path.join("Cargo.toml")).unwrap();
            !manifest.contains("publish = false")
        })
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// The crates that a crate brings along, itself included.
fn tree(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none"])
        .args(["--format", "{p}", "--package", package])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}
