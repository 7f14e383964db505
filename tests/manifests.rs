//! `deploy/kubernetes` against the defaults of the library, and against Kubernetes' own schemas.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tower_ops_lifecycle::{
    DEFAULT_ABORT, DEFAULT_DRAIN, DEFAULT_GRACE_PERIOD, DEFAULT_HOOKS, DEFAULT_MARGIN,
    DEFAULT_PRE_DRAIN,
};
use tower_ops_tests::Service;

fn files() -> Vec<PathBuf> {
    let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/kubernetes"));
    let entries = fs::read_dir(directory).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|it| it == "yaml"));
    files.sort();
    files
}

/// The manifest of that kind.
fn manifest(kind: &str) -> Value {
    let texts = files()
        .into_iter()
        .map(|path| fs::read_to_string(path).unwrap());
    let mut manifests = texts.flat_map(|text| serde_saphyr::from_multiple::<Value>(&text).unwrap());
    manifests.find(|manifest| manifest["kind"] == kind).unwrap()
}

fn seconds(value: &Value) -> Duration {
    Duration::from_secs(
        value
            .as_u64()
            .unwrap_or_else(|| panic!("no number: {value}")),
    )
}

#[test]
fn the_grace_period_is_the_one_that_the_timeline_fits() {
    let pod = &manifest("Deployment")["spec"]["template"]["spec"];
    let grace = seconds(&pod["terminationGracePeriodSeconds"]);
    let total = DEFAULT_PRE_DRAIN + DEFAULT_DRAIN + DEFAULT_ABORT + DEFAULT_HOOKS + DEFAULT_MARGIN;
    assert!(total <= grace, "{total:?} do not fit {grace:?}");
    assert_eq!(
        grace, DEFAULT_GRACE_PERIOD,
        "what the builder checks against"
    );

    let container = &pod["containers"][0];
    let readiness = &container["readinessProbe"];
    let noticed = seconds(&readiness["periodSeconds"]) + seconds(&readiness["timeoutSeconds"]);
    assert!(noticed < DEFAULT_PRE_DRAIN, "noticed after {noticed:?}");
    // A process that drains must not be restarted for it.
    let liveness = &container["livenessProbe"];
    let period = seconds(&liveness["periodSeconds"]);
    let threshold = u32::try_from(liveness["failureThreshold"].as_u64().unwrap()).unwrap();
    assert!(period * threshold >= Duration::from_secs(30));
}

#[tokio::test]
async fn every_path_is_there_and_every_port_is_the_one() {
    let manifest = manifest("Deployment");
    let template = &manifest["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    let variable = |name: &str| {
        let variables = container["env"].as_array().unwrap();
        let variable = variables.iter().find(|it| it["name"] == name).unwrap();
        variable["value"].as_str().unwrap().to_owned()
    };
    let port = |name: &str| {
        let ports = container["ports"].as_array().unwrap();
        let port = ports.iter().find(|it| it["name"] == name).unwrap();
        port["containerPort"].clone()
    };
    assert_eq!(variable("APP_ADDR"), format!("0.0.0.0:{}", port("http")));
    assert_eq!(
        variable("OPS_ADDR"),
        format!("0.0.0.0:{}", port("operations"))
    );

    let service = Service::start("quickstart").await;
    let hook = &container["lifecycle"]["preStop"];
    let probes = ["startupProbe", "readinessProbe", "livenessProbe"];
    for probe in probes.map(|it| &container[it]) {
        assert_eq!(probe["httpGet"]["port"], "operations");
        let path = probe["httpGet"]["path"].as_str().unwrap();
        assert_eq!(service.ops_get(path).await.0, 200, "{path}");
    }
    let annotations = &template["metadata"]["annotations"];
    let metrics = annotations["prometheus.io/path"].as_str().unwrap();
    assert_eq!(service.ops_get(metrics).await.0, 200);
    assert_eq!(
        annotations["prometheus.io/port"],
        port("operations").to_string()
    );
    // Last: it ends the process.
    assert_eq!(hook["httpGet"]["port"], "operations");
    let path = hook["httpGet"]["path"].as_str().unwrap();
    let (status, answer) = service.ops_get(path).await;
    assert_eq!(status, 200);
    assert!(answer.contains("\"trigger\":\"prestop\""), "{answer}");
}

#[test]
#[ignore = "needs a Python with kubernetes-validate, which scripts/test installs"]
fn kubernetes_own_schemas_accept_them() {
    let python = std::env::var_os("TOWER_OPS_TEST_PYTHON")
        .expect("TOWER_OPS_TEST_PYTHON: the path of a Python with kubernetes-validate");
    let validate = PathBuf::from(python).with_file_name("kubernetes-validate");
    let files = files();
    assert_eq!(files.len(), 4);
    let output = Command::new(validate)
        .arg("--strict")
        .args(files)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{error}");
    assert_eq!(text.matches("passed").count(), 4, "{text}{error}");
}
