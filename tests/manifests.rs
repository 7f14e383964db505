//! `deploy/kubernetes` against the defaults of the library, and against Kubernetes' own schemas.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower_ops_health::DEFAULT_STALLED_AFTER;
use tower_ops_lifecycle::{
    DEFAULT_ABORT_TIMEOUT, DEFAULT_DRAIN_TIMEOUT, DEFAULT_GRACE_PERIOD, DEFAULT_HOOKS_TIMEOUT,
    DEFAULT_MARGIN, DEFAULT_PRE_DRAIN,
};
use tower_ops_tests::{Protocol, Service};

const KINDS: [&str; 4] = [
    "Deployment",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Service",
];
const PROBES: [&str; 3] = ["startupProbe", "readinessProbe", "livenessProbe"];
const LABEL: &str = "app.kubernetes.io/name";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes")
}

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(directory()).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|it| it == "yaml"));
    files.sort();
    files
}

/// The manifests by kind, of which there is one each.
fn manifests() -> BTreeMap<String, Value> {
    let mut manifests = BTreeMap::new();
    for path in files() {
        let text = fs::read_to_string(&path).unwrap();
        for manifest in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            let kind = manifest["kind"].as_str().unwrap().to_owned();
            let other = manifests.insert(kind, manifest);
            assert_eq!(other, None, "{}", path.display());
        }
    }
    manifests
}

fn deployment() -> Value {
    manifests().remove("Deployment").unwrap()
}

fn the_container(deployment: &Value) -> &Value {
    let containers = &deployment["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers.as_array().unwrap().len(), 1);
    &containers[0]
}

fn port(container: &Value, name: &str) -> u64 {
    let ports = container["ports"].as_array().unwrap();
    let port = ports.iter().find(|it| it["name"] == name).unwrap();
    port["containerPort"].as_u64().unwrap()
}

fn number(value: &Value) -> u32 {
    let number = value
        .as_u64()
        .unwrap_or_else(|| panic!("no number: {value}"));
    u32::try_from(number).unwrap()
}

fn seconds(value: &Value) -> Duration {
    Duration::from_secs(number(value).into())
}

/// How long a probe may fail before something is done about it.
fn noticed_after(probe: &Value) -> Duration {
    let failures = seconds(&probe["periodSeconds"]) * number(&probe["failureThreshold"]);
    failures + seconds(&probe["timeoutSeconds"])
}

/// It listens a little before it is ready.
async fn ready_quickstart() -> Service {
    let service = Service::start("quickstart").await;
    let began = Instant::now();
    while service.ops_get("/ready").await.0 != 200 {
        assert!(began.elapsed() < Duration::from_secs(20), "not ready");
        sleep(Duration::from_millis(10)).await;
    }
    service
}

/// When each part of the shutdown begins at the latest, and how long it takes.
fn timeline() -> ([(Duration, Duration); 5], Duration) {
    let mut at = Duration::ZERO;
    let parts = [
        DEFAULT_PRE_DRAIN,
        DEFAULT_DRAIN_TIMEOUT,
        DEFAULT_ABORT_TIMEOUT,
        DEFAULT_HOOKS_TIMEOUT,
        DEFAULT_MARGIN,
    ]
    .map(|part| {
        let begins = at;
        at += part;
        (begins, part)
    });
    (parts, at)
}

#[test]
fn the_grace_period_is_the_one_that_the_timeline_fits() {
    let deployment = deployment();
    let pod = &deployment["spec"]["template"]["spec"];
    let grace = seconds(&pod["terminationGracePeriodSeconds"]);
    let (_, total) = timeline();
    assert!(total <= grace, "{total:?} do not fit {grace:?}");
    assert_eq!(
        grace, DEFAULT_GRACE_PERIOD,
        "what the builder checks against"
    );

    // Who asks for readiness and nothing else has to know before it stops serving.
    let readiness = noticed_after(&the_container(&deployment)["readinessProbe"]);
    assert!(readiness < DEFAULT_PRE_DRAIN, "noticed after {readiness:?}");
    // Also a pod whose liveness failed ends by its hook, in the same grace period.
    for probe in PROBES {
        let own = &the_container(&deployment)[probe]["terminationGracePeriodSeconds"];
        assert_eq!(own, &Value::Null, "{probe}");
    }
}

#[test]
fn the_figures_in_the_readme_are_those() {
    let readme = fs::read_to_string(directory().join("README.md")).unwrap();
    // The table ends where the next heading begins.
    let (_, table) = readme.split_once("## How a pod ends").unwrap();
    let (table, why) = table.split_once("## ").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let cell = |text: &str| text.trim().to_owned();
    let rows: Vec<_> = rows
        .map(|row| {
            let mut cells = row.trim_matches('|').split('|');
            (
                cell(cells.next().unwrap()),
                cell(cells.next_back().unwrap()),
            )
        })
        .collect();
    let text = |time: Duration| format!("{} s", time.as_secs());
    let (parts, total) = timeline();
    let mut wanted: Vec<_> = parts
        .iter()
        .map(|(begins, takes)| (text(*begins), text(*takes)))
        .collect();
    wanted.push((text(total), String::new()));
    wanted.push((text(DEFAULT_GRACE_PERIOD), String::new()));
    assert_eq!(rows, wanted);

    let deployment = deployment();
    let container = the_container(&deployment);
    let mut claims: Vec<_> = PROBES
        .map(|name| {
            let probe = &container[name];
            let (threshold, period) = (&probe["failureThreshold"], &probe["periodSeconds"]);
            assert_eq!(probe["timeoutSeconds"], 1, "{name}");
            format!("| `{name}`: {threshold} × {period} s |")
        })
        .into();
    let readiness = noticed_after(&container["readinessProbe"]);
    let pod = &deployment["spec"]["template"]["spec"];
    let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
    let resources = &container["resources"];
    let quantity = |value: &Value| value.as_str().unwrap().to_owned();
    claims.extend([
        format!("no task for {} s;", DEFAULT_STALLED_AFTER.as_secs()),
        format!(
            "Noticed within {} s, of the {} s",
            readiness.as_secs(),
            DEFAULT_PRE_DRAIN.as_secs()
        ),
        "`timeoutSeconds: 1`".to_owned(),
        format!(
            "`replicas: {}`, `maxSurge: {}`, `maxUnavailable: {}`",
            deployment["spec"]["replicas"], rolling["maxSurge"], rolling["maxUnavailable"]
        ),
        format!(
            "`PodDisruptionBudget`, `maxUnavailable: {}`",
            manifests()["PodDisruptionBudget"]["spec"]["maxUnavailable"]
        ),
        format!("`runAsUser: {}`", pod["securityContext"]["runAsUser"]),
        format!(
            "requests of {} and {}, a limit of {} |",
            quantity(&resources["requests"]["cpu"]),
            quantity(&resources["requests"]["memory"]),
            quantity(&resources["limits"]["memory"])
        ),
    ]);
    for claim in claims {
        assert!(why.contains(&claim), "{claim:?} is not in {why}");
    }
    assert_eq!(resources["limits"]["cpu"], Value::Null, "no CPU limit");
}

#[test]
fn they_are_about_the_same_pods() {
    let manifests = manifests();
    let kinds: Vec<_> = manifests.keys().map(String::as_str).collect();
    assert_eq!(kinds, KINDS);
    let spec = |kind: &str| &manifests[kind]["spec"];
    let pod = &spec("Deployment")["template"];
    let label = &pod["metadata"]["labels"][LABEL];
    assert!(label.is_string(), "{label}");
    let selected = json!({ LABEL: label });
    for (kind, selector) in [
        ("Deployment", &spec("Deployment")["selector"]["matchLabels"]),
        (
            "PodDisruptionBudget",
            &spec("PodDisruptionBudget")["selector"]["matchLabels"],
        ),
        (
            "NetworkPolicy",
            &spec("NetworkPolicy")["podSelector"]["matchLabels"],
        ),
        ("Service", &spec("Service")["selector"]),
    ] {
        assert_eq!(selector, &selected, "{kind}");
    }

    // A budget that lets nobody go blocks the drain of a node; one that lets all go is none.
    let may_go = number(&spec("PodDisruptionBudget")["maxUnavailable"]);
    let replicas = number(&spec("Deployment")["replicas"]);
    assert!((1..replicas).contains(&may_go), "{may_go} of {replicas}");
}

#[test]
fn who_may_not_stop_it_does_not_reach_the_operations_port() {
    let manifests = manifests();
    // By its name alone: a number might be the operations port.
    let ports = manifests["Service"]["spec"]["ports"].as_array().unwrap();
    let targets: Vec<_> = ports.iter().map(|port| &port["targetPort"]).collect();
    assert_eq!(targets, ["http"]);

    let policy = &manifests["NetworkPolicy"]["spec"];
    assert_eq!(policy["policyTypes"], json!(["Ingress"]));
    let mut let_in = Vec::new();
    for rule in policy["ingress"].as_array().unwrap() {
        // A rule without ports is for all of them, one without peers for everybody.
        let everybody = rule["from"].as_array().is_none_or(Vec::is_empty);
        for port in rule["ports"].as_array().unwrap() {
            let_in.push((port["port"].as_str().unwrap(), everybody));
        }
    }
    assert_eq!(let_in, [("http", true), ("operations", false)]);
}

#[test]
fn the_container_may_do_nothing_that_it_does_not_need() {
    let deployment = deployment();
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert!(number(&pod["securityContext"]["runAsUser"]) > 0);
    let profile = &pod["securityContext"]["seccompProfile"]["type"];
    assert_eq!(profile, "RuntimeDefault");
    let container = the_container(&deployment);
    let context = &container["securityContext"];
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["capabilities"], json!({ "drop": ["ALL"] }));
    for name in ["http", "operations"] {
        assert!(port(container, name) >= 1024, "{name} needs a capability");
    }
}

#[tokio::test]
async fn every_path_is_in_the_index_and_every_port_is_the_one() {
    let manifest = deployment();
    let container = the_container(&manifest);
    let variable = |name: &str| {
        let variables = container["env"].as_array().unwrap();
        let variable = variables.iter().find(|it| it["name"] == name).unwrap();
        variable["value"].as_str().unwrap().to_owned()
    };
    let operations = port(container, "operations");
    let http = port(container, "http");
    assert_eq!(operations, 8080, "the default of the library");
    assert_eq!(variable("APP_ADDR"), format!("0.0.0.0:{http}"));
    assert_eq!(variable("OPS_ADDR"), format!("0.0.0.0:{operations}"));

    let service = ready_quickstart().await;
    let accept = [("accept", "application/json")];
    let index = Protocol::Http1.ask(service.ops(), "GET", "/", &accept, "");
    let index: Value = serde_json::from_slice(&index.await.unwrap().body).unwrap();
    let links = index["links"].as_array().unwrap();
    let is_listed = |path: &str| links.iter().any(|link| link["path"] == path);

    for (probe, wanted) in PROBES.into_iter().zip(["/startup", "/ready", "/health"]) {
        let get = &container[probe]["httpGet"];
        assert_eq!(get["port"], "operations", "{probe}");
        assert_eq!(get["path"], wanted, "{probe}");
        assert!(is_listed(wanted), "{wanted}: {index}");
        assert_eq!(service.ops_get(wanted).await.0, 200, "{wanted}");
    }
    let hook = &container["lifecycle"]["preStop"]["httpGet"];
    assert_eq!(hook["port"], "operations");
    assert_eq!(hook["path"], "/prestop");
    assert!(is_listed("/prestop"), "{index}");

    let annotations = &manifest["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations["prometheus.io/scrape"], "true");
    assert_eq!(annotations["prometheus.io/port"], operations.to_string());
    let metrics = annotations["prometheus.io/path"].as_str().unwrap();
    assert!(is_listed(metrics), "{metrics}: {index}");
    assert_eq!(service.ops_get(metrics).await.0, 200);
}

/// What the kubelet does to a pod that ends, with the real times.
#[tokio::test]
async fn the_hook_and_then_the_signal_end_it_in_time() {
    let mut service = ready_quickstart().await;
    let began = Instant::now();
    let seen_while_it_serves = async {
        // The hook is on its way, on another connection.
        while service.ops_get("/ready").await.0 != 503 {
            assert!(began.elapsed() < DEFAULT_PRE_DRAIN, "still ready");
            sleep(Duration::from_millis(10)).await;
        }
        let live = service.ops_get("/health").await.0;
        let served = service.get("/users/42", &[]).await;
        (live, served.0, served.2, began.elapsed())
    };
    let (hook, seen) = tokio::join!(service.ops_get("/prestop"), seen_while_it_serves);
    let answered = began.elapsed();

    let (live, status, text, after) = seen;
    assert_eq!(live, 200, "must not be restarted for it");
    assert_eq!((status, &*text), (200, "user 42\n"));
    assert!(after < DEFAULT_PRE_DRAIN, "asked after {after:?}");
    assert_eq!(hook.0, 200);
    assert!(hook.1.contains("\"trigger\":\"prestop\""), "{}", hook.1);
    assert!(answered >= DEFAULT_PRE_DRAIN, "after {answered:?}");

    service.process().terminate().unwrap();
    let status = service.process().wait_exit(DEFAULT_GRACE_PERIOD).await;
    let (_, total) = timeline();
    let output = service.process().output();
    assert!(status.success(), "{status}: {output:#?}");
    assert!(began.elapsed() < total, "after {:?}", began.elapsed());
}

fn validate(files: &[PathBuf]) -> Output {
    let python = std::env::var_os("TOWER_OPS_TEST_PYTHON").expect(
        "TOWER_OPS_TEST_PYTHON: the path of a Python with kubernetes-validate, which \
         scripts/test sets",
    );
    // It lies beside the Python of its environment.
    Command::new(PathBuf::from(python).with_file_name("kubernetes-validate"))
        .arg("--strict")
        .args(files)
        .output()
        .unwrap()
}

#[test]
#[ignore = "needs kubernetes-validate, for Python; scripts/test runs it"]
fn kubernetes_own_schemas_accept_them() {
    let files = files();
    assert_eq!(files.len(), KINDS.len());
    let output = validate(&files);
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{error}");
    assert_eq!(text.matches(" passed ").count(), KINDS.len(), "{text}");

    // Only if it refuses something does it mean something that it accepts these.
    let broken = Path::new(env!("CARGO_TARGET_TMPDIR")).join("misspelt.yaml");
    let text = fs::read_to_string(directory().join("deployment.yaml")).unwrap();
    let misspelt = text.replace("preStop:", "prestop:");
    assert_ne!(misspelt, text);
    fs::write(&broken, misspelt).unwrap();
    let output = validate(&[broken]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("'prestop' was unexpected"), "{text}");
}
