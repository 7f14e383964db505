//! One request through three services, called by the OpenTelemetry SDK of Python and calling it, as
//! a collector sees it and as it stands in the logs. `scripts/test` installs the SDK and runs this.
//!
//! ```text
//! peer.py → orders (axum) → echo (tonic) → stock (hyper) → peer.py
//! ```
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tower_ops_testing::Process;

mod collector;

use self::collector::{Collector, Exported};

const DEADLINE: Duration = Duration::from_secs(60);
const SPAN: &str = "00f067aa0ba902b7";

/// The services, each a process that exports to one collector.
struct Chain {
    collector: Collector,
    orders: Process,
    echo: Process,
    stock: Process,
    _peer: Process,
    /// Where each listens: orders, echo, stock, peer.
    ports: [String; 4],
}

impl Chain {
    async fn start() -> Self {
        let collector = Collector::start().await;
        let mut command = peer("callee", &collector);
        command.arg("serve");
        let (peer, peer_at) = listening(command).await;
        let service = async |name, next: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_traced"));
            command.args([name, next]);
            listening(exporting(command, &collector)).await
        };
        let (stock, stock_at) = service("stock", &peer_at).await;
        let (echo, echo_at) = service("echo", &stock_at).await;
        let (orders, orders_at) = service("orders", &echo_at).await;
        Self {
            collector,
            orders,
            echo,
            stock,
            _peer: peer,
            ports: [orders_at, echo_at, stock_at, peer_at].map(|at| port(&at)),
        }
    }

    /// Has Python call the first service, below a span of that trace; the status and the text.
    fn call(&self, path: &str, traceparent: &str) -> (u64, String) {
        let mut command = peer("caller", &self.collector);
        let url = format!("http://127.0.0.1:{}{path}", self.ports[0]);
        let output = command.args(["call", &url, traceparent]).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{printed}\n{failed}");
        serde_json::from_str(&printed).unwrap()
    }

    /// Ends the services, which export and log what they still have, and returns their log lines.
    async fn end(&mut self) -> Vec<(&'static str, Value)> {
        let mut lines = Vec::new();
        for (name, process) in [
            ("orders", &mut self.orders),
            ("echo", &mut self.echo),
            ("stock", &mut self.stock),
        ] {
            process.terminate().unwrap();
            let status = process.wait_exit(DEADLINE).await;
            assert!(status.success(), "{name}: {:?}", process.output());
            for line in process.output() {
                if !line.starts_with("listening on ") {
                    let line = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
                    lines.push((name, line));
                }
            }
        }
        lines
    }
}

fn peer(name: &str, collector: &Collector) -> Command {
    let python = std::env::var_os("TOWER_OPS_TEST_PYTHON").expect(
        "TOWER_OPS_TEST_PYTHON: the path of a Python with opentelemetry-sdk, which scripts/test \
         sets",
    );
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/telemetry/peer.py"));
    let mut command = exporting(command, collector);
    command
        .env("OTEL_SERVICE_NAME", name)
        // The names that are stable.
        .env("OTEL_SEMCONV_STABILITY_OPT_IN", "http")
        .env("NO_PROXY", "127.0.0.1");
    command
}

/// Without the variables of whoever runs the tests.
fn exporting(mut command: Command, collector: &Collector) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .env("OTEL_BSP_SCHEDULE_DELAY", "20")
        .env_remove("RUST_LOG")
        .env_remove("LOG_FORMAT");
    command
}

async fn listening(command: Command) -> (Process, String) {
    let mut process = Process::spawn(command).unwrap();
    let line = process.wait_output("listening on ", DEADLINE).await;
    let addr = line.trim_start_matches("listening on ").to_owned();
    (process, addr)
}

fn port(addr: &str) -> String {
    addr.rsplit_once(':').unwrap().1.to_owned()
}

/// A traceparent in a trace of its own, recorded or not.
fn traceparent(number: u8, is_sampled: bool) -> (String, String) {
    let trace = format!("4bf92f3577b34da6a3ce929d0e0e47{number:02x}");
    let parent = format!("00-{trace}-{SPAN}-0{}", u8::from(is_sampled));
    (trace, parent)
}

/// Spans of one trace that are each the only child of the one before, by how their titles begin.
#[track_caller]
fn assert_line(spans: &[Exported], titles: &[&str]) {
    let mut parent = SPAN.to_owned();
    let mut found = Vec::new();
    while let Some(span) = spans.iter().find(|span| span.parent() == parent) {
        found.push(span.title());
        parent = span.id();
    }
    let pairs = found.iter().zip(titles);
    let fits = pairs.filter(|(found, title)| found.starts_with(**title));
    assert_eq!(fits.count(), titles.len(), "{found:?}");
    assert_eq!(spans.len(), titles.len(), "{spans:?}");
}

#[track_caller]
fn only<'a>(spans: &'a [Exported], start: &str) -> &'a Exported {
    let found: Vec<_> = spans
        .iter()
        .filter(|span| span.title().starts_with(start))
        .collect();
    match found[..] {
        [span] => span,
        _ => panic!("{} of {start:?}", found.len()),
    }
}

#[track_caller]
fn assert_attributes(span: &Exported, wanted: &[(&str, &str)]) {
    for (key, value) in wanted {
        assert_eq!(span.get(key), *value, "{key} of {}", span.title());
    }
}

const LINE: [&str; 10] = [
    "caller INTERNAL buy",
    "caller CLIENT GET",
    "orders SERVER GET /orders/{id}",
    "orders INTERNAL check",
    "orders CLIENT playground.Echo/Unary",
    "echo SERVER playground.Echo/Unary",
    "echo CLIENT GET",
    "stock SERVER GET /stock/{id}",
    "stock CLIENT GET",
    // Python's name goes on with the path.
    "callee SERVER GET",
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Python with opentelemetry-sdk; scripts/test runs it"]
async fn one_request_is_one_trace_from_python_to_python() {
    let mut chain = Chain::start().await;
    let (fine, parent) = traceparent(1, true);
    let (status, text) = chain.call("/orders/7?token=secret", &parent);
    assert_eq!(status, 200, "{text}");
    let received: Value = serde_json::from_str(&text).unwrap();
    let spans = chain.collector.wait_trace(&fine, LINE.len()).await;
    assert_line(&spans, &LINE);
    check_fine(&spans, &chain.ports, &received);

    let (broken, parent) = traceparent(2, true);
    let (status, text) = chain.call("/orders/broken", &parent);
    assert_eq!(status, 502, "{text}");
    let spans = chain.collector.wait_trace(&broken, LINE.len()).await;
    assert_line(&spans, &LINE);
    for (title, error) in [
        ("caller CLIENT", "502"),
        ("orders SERVER", "502"),
        ("orders CLIENT", "UNAVAILABLE"),
        ("echo SERVER", "UNAVAILABLE"),
        ("echo CLIENT", "503"),
        ("stock SERVER", "503"),
        ("stock CLIENT", "503"),
    ] {
        let span = only(&spans, title);
        assert!(span.is_error(), "{title}");
        assert_eq!(span.get("error.type"), error, "{title}");
    }
    assert!(only(&spans, "callee SERVER").is_error());

    let mut traces = vec![(fine, "01", 200, "OK"), (broken, "01", 502, "UNAVAILABLE")];
    for (number, code, name, is_servers) in [
        (3, 14, "UNAVAILABLE", true),
        (4, 3, "INVALID_ARGUMENT", false),
    ] {
        let (trace, parent) = traceparent(number, true);
        let (status, text) = chain.call(&format!("/fail/{code}"), &parent);
        assert_eq!((status, &*text), (502, "as asked"));
        check_trailers(&chain, &trace, name, is_servers).await;
        traces.push((trace, "01", 502, name));
    }

    let (unseen, parent) = traceparent(5, false);
    let (status, text) = chain.call("/orders/7", &parent);
    assert_eq!(status, 200, "{text}");
    let received: Value = serde_json::from_str(&text).unwrap();
    let sent = received["traceparent"].as_str().unwrap();
    assert!(sent.starts_with(&format!("00-{unseen}-")), "{sent}");
    assert!(sent.ends_with("-00"), "{sent}");
    assert_eq!(received["tracestate"], "vendor=opaque");
    traces.push((unseen.clone(), "00", 200, "OK"));

    let lines = chain.end().await;
    // The services have exported all that they had.
    assert_eq!(chain.collector.trace(&unseen).len(), 0);
    for (trace, flags, status, grpc) in &traces {
        check_logs(&lines, trace, flags, *status, grpc);
    }
    for (name, line) in &lines {
        let known = |(trace, ..): &(String, _, _, _)| line["trace_id"] == **trace;
        assert!(traces.iter().any(known), "{name}: {line}");
    }
}

fn check_fine(spans: &[Exported], ports: &[String; 4], received: &Value) {
    let [orders_at, echo_at, stock_at, peer_at] = ports;
    for span in spans {
        assert!(!span.is_error() && !span.is_ok(), "{}", span.title());
        assert_eq!(span.get("error.type"), "", "{}", span.title());
        assert_eq!(span.state(), "vendor=opaque", "{}", span.title());
        let is_remote = span.title().contains(" SERVER ") || span.service == "caller";
        let is_remote = is_remote && !span.title().contains("caller CLIENT");
        assert_eq!(span.is_parent_remote(), Some(is_remote), "{}", span.title());
    }
    let http = [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "1.1"),
    ];
    for title in [
        "caller CLIENT",
        "orders SERVER",
        "echo CLIENT",
        "stock SERVER",
        "stock CLIENT",
        "callee SERVER",
    ] {
        assert_attributes(only(spans, title), &http);
    }
    for (title, port, path) in [
        ("echo CLIENT", stock_at, "/stock/7"),
        ("stock CLIENT", peer_at, "/stock/7"),
    ] {
        let url = format!("http://127.0.0.1:{port}{path}");
        let wanted = [
            ("server.address", "127.0.0.1"),
            ("server.port", port.as_str()),
            ("url.full", &url),
        ];
        assert_attributes(only(spans, title), &wanted);
    }
    assert_eq!(&only(spans, "caller CLIENT").get("server.port"), orders_at);
    for (title, route, path) in [
        ("orders SERVER", "/orders/{id}", "/orders/7"),
        ("stock SERVER", "/stock/{id}", "/stock/7"),
    ] {
        let wanted = [
            ("http.route", route),
            ("url.path", path),
            ("url.scheme", "http"),
            ("url.query", ""),
        ];
        assert_attributes(only(spans, title), &wanted);
    }
    let rpc = [
        ("rpc.system.name", "grpc"),
        ("rpc.method", "playground.Echo/Unary"),
        ("rpc.response.status_code", "OK"),
    ];
    assert_attributes(only(spans, "echo SERVER"), &rpc);
    let client = only(spans, "orders CLIENT");
    assert_attributes(client, &rpc);
    let server = [("server.address", "127.0.0.1"), ("server.port", echo_at)];
    assert_attributes(client, &server);
    let internal = only(spans, "orders INTERNAL");
    assert!(internal.is_internal());
    assert_eq!(internal.get("step"), "stock");
    // What Python set in front stands at the back.
    let callee = only(spans, "callee SERVER");
    assert_eq!(callee.get("tenant"), "blue");
    let last = only(spans, "stock CLIENT");
    let wanted = json!({
        "traceparent": format!("00-{}-{}-01", last.trace_id(), last.id()),
        "tracestate": "vendor=opaque",
        "baggage": "tenant=blue",
        "x-request-id": "order-7",
    });
    assert_eq!(*received, wanted);
}

/// A status in the trailers, after messages.
async fn check_trailers(chain: &Chain, trace: &str, name: &str, is_servers: bool) {
    let line = [
        "caller INTERNAL buy",
        "caller CLIENT GET",
        "orders SERVER GET /fail/{code}",
        "orders CLIENT playground.Echo/Fail",
        "echo SERVER playground.Echo/Fail",
    ];
    let spans = chain.collector.wait_trace(trace, line.len()).await;
    assert_line(&spans, &line);
    for (title, is_error) in [("orders CLIENT", true), ("echo SERVER", is_servers)] {
        let span = only(&spans, title);
        assert_eq!(span.is_error(), is_error, "{title}");
        let error = if is_error { name } else { "" };
        let wanted = [
            ("rpc.response.status_code", name),
            ("error.type", error),
            ("http.response.status_code", "200"),
        ];
        assert_attributes(span, &wanted);
    }
}

/// The lines of a trace: what the handlers log, and one of the access log in each service.
fn check_logs(lines: &[(&str, Value)], trace: &str, flags: &str, status: u64, grpc: &str) {
    let lines: Vec<_> = lines
        .iter()
        .filter(|(_, line)| line["trace_id"] == *trace)
        .collect();
    let mut messages: Vec<_> = lines
        .iter()
        .map(|(name, line)| format!("{name} {}", line["message"].as_str().unwrap()))
        .collect();
    messages.sort();
    let asked = [
        "echo called",
        "echo request",
        "orders asks",
        "orders ordered",
        "orders request",
        "stock looked up",
        "stock request",
    ];
    let failed = [
        "echo replies",
        "echo replies",
        "echo replies",
        "echo request",
        "orders read",
        "orders read",
        "orders request",
    ];
    assert!(messages == asked || messages == failed, "{messages:?}");
    for (name, line) in lines {
        assert_eq!(line["request_id"], "order-7", "{name}: {line}");
        assert_eq!(line["trace_flags"], *flags, "{name}: {line}");
        assert_eq!(line["span_id"].as_str().unwrap().len(), 16);
        match (*name, line["message"].as_str().unwrap()) {
            ("orders", "request") => assert_eq!(line["status"], status, "{line}"),
            ("echo", "request") => assert_eq!(line["grpc"], grpc, "{line}"),
            _ => {}
        }
    }
}
