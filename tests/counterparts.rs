//! The examples against the real thing: Prometheus, gRPC's Python client, curl,
//! nghttp and h2load. `scripts/test` installs them and runs these tests.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tower_ops_testing::RawHttp1;
use tower_ops_tests::{Protocol, Service};

#[path = "counterparts/prometheus.rs"]
mod prometheus;

use self::prometheus::Prometheus;

const DURATION: &str = "http_server_request_duration_seconds_count";
const CALLS: &str = "rpc_server_call_duration_seconds_count";

#[tokio::test]
#[ignore = "needs prometheus; scripts/test runs it"]
async fn prometheus_scrapes_and_adds_up() {
    const REQUESTS: usize = 300;
    let service = Service::start("playground").await;
    let prometheus = Prometheus::start(service.ops()).await;
    let mut client = RawHttp1::connect(service.app()).await.unwrap();
    for n in 0..REQUESTS {
        let path = match n % 3 {
            0 => format!("/users/{n}"),
            1 => "/slow/20".to_owned(),
            _ => "/status/500".to_owned(),
        };
        client.send_request("GET", &path, &[], "").await.unwrap();
        let head = client.read_head().await.unwrap();
        client.read_body(&head).await.unwrap();
    }

    let third = REQUESTS / 3;
    for (query, wanted) in [
        ("sum(server_requests_total)", REQUESTS),
        ("sum(http_server_request_duration_seconds_count)", REQUESTS),
        (
            "sum(http_server_request_duration_seconds_bucket{le='+Inf'})",
            REQUESTS,
        ),
        (
            "sum(server_requests_total{outcome='completed',class='server_error'})",
            third,
        ),
        (
            "sum(http_server_request_duration_seconds_count{http_route='/users/{id}'})",
            third,
        ),
        (
            "sum(http_server_request_duration_seconds_count{error_type='500'})",
            third,
        ),
        ("sum(server_in_flight_requests)", 0),
        ("sum(http_server_active_requests)", 0),
        ("up{job='playground'}", 1),
    ] {
        prometheus.wait_for(query, wanted).await;
    }

    let slow = "histogram_quantile(0.5, sum by (le) \
                (http_server_request_duration_seconds_bucket{http_route='/slow/{ms}'}))";
    let median = prometheus.query(slow).await.unwrap();
    assert!((0.01..0.5).contains(&median), "{median}");
    prometheus.stop().await;
}

#[tokio::test]
#[ignore = "needs promtool; scripts/test runs it"]
async fn promtool_finds_nothing_to_complain_about() {
    let playground = Service::start("playground").await;
    for path in [
        "/",
        "/users/1",
        "/nowhere",
        "/status/500",
        "/panic-body",
        "/stream/3/1",
    ] {
        // Some of these break off, as they should.
        let _ = Protocol::Http2
            .ask(playground.app(), "GET", path, &[], "")
            .await;
    }
    let grpc = Service::start("grpc").await;
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let hello = "\0\0\0\0\u{7}\n\u{5}hello";
    let path = "/playground.Echo/Unary";
    let answer = Protocol::Http2.ask(grpc.app(), "POST", path, &headers, hello);
    assert_eq!(answer.await.unwrap().status, 200);

    let dir = Dir::new("promtool");
    for service in [playground, grpc] {
        service.scrape_idle().await;
        let (_, text) = service.ops_get("/metrics").await;
        let file = dir.path().join("metrics");
        fs::write(&file, &text).unwrap();
        let output = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(fs::File::open(&file).unwrap())
            .output()
            .expect("run promtool, which scripts/test installs");
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{printed}\n{text}");
        assert_eq!(printed, "");
    }
}

#[tokio::test]
#[ignore = "needs Python with grpcio; scripts/test runs it"]
async fn python_grpc_client_and_metrics_see_the_same() {
    let python = std::env::var_os("TOWER_OPS_TEST_PYTHON").expect(
        "TOWER_OPS_TEST_PYTHON: the path of a Python with grpcio and grpcio-reflection, \
         which scripts/test sets",
    );
    let service = Service::start("grpc").await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("counterparts/echo.py");
    let report = run(Command::new(python)
        .arg(script)
        .arg(service.app().to_string()));
    let report: Value = serde_json::from_str(&report).unwrap();

    assert_eq!(report["unary"], "hello");
    assert_eq!(report["stream"], json!([vec!["tick"; 5], "OK", ""]));
    assert_eq!(
        report["refused"],
        json!([
            [],
            "INVALID_ARGUMENT",
            "code is 0: Fail needs a gRPC status from 1 to 16"
        ])
    );
    assert_eq!(report["late"], "DEADLINE_EXCEEDED");
    assert_eq!(report["cut"], "CANCELLED");
    assert_eq!(report["unknown"], "UNIMPLEMENTED");
    assert_eq!(report["id_came_back"], true);

    let samples = service.scrape_idle().await;
    let calls = |method: &str, status: &str| {
        let labels = [("rpc_method", method), ("rpc_response_status_code", status)];
        samples.count(CALLS, &labels)
    };
    let fail = "playground.Echo/Fail";
    let failed = report["fail"].as_array().unwrap();
    assert_eq!(failed.len(), 32);
    for call in failed {
        // What Python calls the status is what it is counted as; each was asked for
        // without a message before it and with three, and one was refused on top.
        let status = call[1].as_str().unwrap();
        let refused = usize::from(status == "INVALID_ARGUMENT");
        assert_eq!(calls(fail, status), 2 + refused, "{status}");
        assert_eq!(call[2], "as asked");
        let messages = call[0].as_array().unwrap().len();
        assert!([0, 3].contains(&messages));
    }
    assert_eq!(samples.count(CALLS, &[("rpc_method", fail)]), 33);
    assert_eq!(calls("playground.Echo/Unary", "OK"), 1);
    assert_eq!(calls("playground.Echo/ServerStream", "OK"), 2);
    assert_eq!(calls("_OTHER", "UNIMPLEMENTED"), 1);
    let cancelled = [
        ("rpc_method", "playground.Echo/ServerStream"),
        ("error_type", "cancelled"),
    ];
    // Server and client both know the deadline: either of them may end the late call first.
    let late = calls("playground.Echo/ServerStream", "DEADLINE_EXCEEDED");
    let cut = samples.count(CALLS, &cancelled);
    assert!(late <= 1 && cut >= 1, "{late} late, {cut} cut");
    assert_eq!(late + cut, 2, "late and cut");
    assert_eq!(
        samples.count(CALLS, &[]),
        samples.count("server_requests_total", &[])
    );
}

#[tokio::test]
#[ignore = "needs curl; scripts/test runs it"]
async fn curl_over_both_protocols() {
    let service = Service::start("playground").await;
    let app = service.app();
    for (option, protocol) in [
        ("--http1.1", Protocol::Http1),
        ("--http2-prior-knowledge", Protocol::Http2),
    ] {
        let curl = |arguments: &[&str], path: &str| {
            run(Command::new("curl")
                .args(["--silent", "--show-error", "--max-time", "20", option])
                .args(arguments)
                .arg(format!("http://{app}{path}")))
        };
        let head = curl(
            &["--include", "--header", "x-request-id: curl-1"],
            "/users/42",
        );
        let (head, body) = head.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(&format!("HTTP/{} 200", protocol.version())),
            "{head}"
        );
        assert!(head.contains("x-request-id: curl-1"), "{head}");
        assert_eq!(body, r#"{"id":"42"}"#);
        assert_eq!(curl(&["--data", "some text"], "/echo"), "some text");
        assert!(curl(&["--head"], "/stream/3/0").contains(" 200"));
        assert_eq!(curl(&[], "/stream/10/1").len(), 1_000);
        // As people type it; the body is 16 KiB, which curl announces with Expect.
        let many = "x".repeat(16 * 1024);
        assert_eq!(curl(&["--data", &many], "/echo"), many);

        // curl gives up after a second, in the midst of the events.
        let output = Command::new("curl")
            .args(["--silent", "--max-time", "1", option])
            .arg(format!("http://{app}/sse"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(28), "timed out");
        assert!(String::from_utf8_lossy(&output.stdout).contains("data: tick"));
    }
    let samples = service.scrape_idle().await;
    for protocol in Protocol::ALL {
        let of = |route, extra| {
            let version = ("network_protocol_version", protocol.version());
            samples.count(DURATION, &[version, ("http_route", route), extra])
        };
        let fine = ("http_response_status_code", "200");
        assert_eq!(of("/users/{id}", fine), 1);
        assert_eq!(of("/echo", fine), 2);
        assert_eq!(of("/stream/{chunks}/{ms}", fine), 2);
        assert_eq!(of("/sse", ("error_type", "cancelled")), 1);
    }
    assert_eq!(samples.count("server_requests_total", &[]), 12);
}

#[tokio::test]
#[ignore = "needs nghttp and h2load; scripts/test runs it"]
async fn nghttp_and_h2load_succeed_and_are_counted() {
    let service = Service::start("playground").await;
    let app = service.app();
    let printed = run(Command::new("nghttp")
        .args(["--verbose", "--no-dep", "--timeout=20"])
        .arg("--header=x-request-id: nghttp-1")
        .arg(format!("http://{app}/users/42")));
    assert!(printed.contains(":status: 200"), "{printed}");
    assert!(printed.contains("x-request-id: nghttp-1"), "{printed}");
    assert!(printed.contains(r#"{"id":"42"}"#), "{printed}");

    let load = |protocol: &[&str], path: &str| {
        let printed = run(Command::new("h2load")
            .args(["-n", "2000", "-c", "10", "-m", "10", "-T", "20"])
            .args(protocol)
            .arg(format!("http://{app}{path}")));
        for part in [
            "2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout",
            "status codes: 2000 2xx",
        ] {
            assert!(printed.contains(part), "{printed}");
        }
    };
    load(&[], "/users/42");
    load(&[], "/stream/3/0");
    load(&["--h1"], "/users/42");

    let samples = service.scrape_idle().await;
    let completed = [("outcome", "completed"), ("class", "success")];
    assert_eq!(samples.count("server_requests_total", &completed), 6_001);
    assert_eq!(samples.count("server_requests_total", &[]), 6_001);
    let of = |route, version| {
        let labels = [("http_route", route), ("network_protocol_version", version)];
        samples.count(DURATION, &labels)
    };
    assert_eq!(of("/users/{id}", "2"), 2_001);
    assert_eq!(of("/users/{id}", "1.1"), 2_000);
    assert_eq!(of("/stream/{chunks}/{ms}", "2"), 2_000);
}

#[tokio::test]
#[ignore = "needs h2load; scripts/test runs it"]
async fn what_h2load_leaves_behind_is_counted_as_cancelled() {
    let service = Service::start("playground").await;
    // It hangs up after two seconds, with all 100 streams open.
    Command::new("h2load")
        .args(["-D", "2", "-c", "10", "-m", "10"])
        .arg(format!("http://{}/slow/60000", service.app()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("run h2load, which scripts/test installs");
    let samples = service.scrape_idle().await;
    let outcome = |outcome| samples.count("server_requests_total", &[("outcome", outcome)]);
    assert_eq!(outcome("cancelled_before_head"), 100);
    assert_eq!(samples.count("server_requests_total", &[]), 100);
    assert_eq!(samples.count("http_server_active_requests", &[]), 0);
}

/// A directory of its own under `target/`, gone at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // What is left lies under target/.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a program printed, which must succeed.
fn run(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{printed}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}
