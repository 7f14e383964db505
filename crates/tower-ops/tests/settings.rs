//! What an operator sets arrives in what is built, and what is wrong is reported at once.
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

#[path = "support/log.rs"]
mod log;

use std::future::pending;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::{Router, routing::get};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tower::ServiceExt;
use tower_ops::observe::{Ending, Facts, Observe, TraceIds};
use tower_ops::{ClientAddr, Ops, OpsBuilder, Settings};
use tower_ops_testing::RawHttp1;

use self::log::Log;

const TOKEN: &str = "a-token-to-change-things";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn settings(vars: &[(&str, &str)]) -> Settings {
    let vars = vars
        .iter()
        .map(|(name, value)| (format!("TOWER_OPS_{name}"), value));
    Settings::from_vars(vars).unwrap()
}

/// Applied last, so that they win over what is for tests.
fn builder(vars: &[(&str, &str)]) -> OpsBuilder {
    Ops::builder("orders").for_tests().settings(settings(vars))
}

fn ops(vars: &[(&str, &str)]) -> Ops {
    builder(vars).build().unwrap()
}

#[track_caller]
fn problems(vars: &[(&str, &str)]) -> Vec<String> {
    let error = Settings::from_vars(vars.iter().copied()).unwrap_err();
    error.problems().to_vec()
}

#[test]
fn the_address_arrives() {
    let ops = ops(&[("OPS_ADDR", "127.0.0.1:9999")]);
    assert!(format!("{ops:?}").contains("127.0.0.1:9999"));
}

#[tokio::test]
async fn the_token_of_the_file_opens_what_needs_one() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{TOKEN}").unwrap();
    let path = file.path().to_str().unwrap();
    let ops = ops(&[("OPERATIONS_TOKEN_FILE", path)]);
    for (token, expected) in [
        (TOKEN, StatusCode::NOT_FOUND), // there is no such connection
        ("another-token-than-that", StatusCode::UNAUTHORIZED),
    ] {
        let request = Request::delete("/connections/1")
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty());
        let response = ops.operations().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), expected);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_of_the_build() {
    let error = builder(&[("OPERATIONS_TOKEN_FILE", "/nowhere/token")]).build();
    assert!(error.unwrap_err().to_string().contains("/nowhere/token"));
}

#[tokio::test(start_paused = true)]
async fn the_times_of_the_shutdown_arrive() {
    let ops = ops(&[
        ("PRE_DRAIN", "7s"),
        ("DRAIN_TIMEOUT", "20s"),
        ("ABORT_TIMEOUT", "3s"),
        ("HOOKS_TIMEOUT", "4s"),
        ("MARGIN", "5s"),
        ("GRACE_PERIOD", "90s"),
    ]);
    let lifecycle = ops.lifecycle();
    lifecycle.on_drain("drain", async |_| pending().await);
    lifecycle.on_stop("hook", async || pending::<()>().await);
    ops.mark_ready(); // or there is nothing to drain
    let begun = Instant::now();
    lifecycle.shutdown();
    assert_eq!(
        lifecycle.exit_deadline(),
        Some(begun + Duration::from_secs(90))
    );
    let report = lifecycle.run().await;
    let seconds = |time: Option<Duration>| time.unwrap().as_secs();
    assert_eq!(seconds(report.pre_drain()), 7);
    assert_eq!(seconds(report.drain()), 20 + 3);
    assert_eq!(seconds(report.hooks_took()), 4);
}

#[test]
fn a_shutdown_that_does_not_fit_is_a_problem_of_the_build() {
    // Of the defaults, all fit but for the margin.
    let error = builder(&[("PRE_DRAIN", "5s"), ("MARGIN", "5s")]).build();
    let error = error.unwrap_err().to_string();
    assert!(error.contains("lifecycle: grace_period: 30s"), "{error}");
    assert!(error.contains("margin 5s"), "{error}");
}

#[test]
fn the_limits_of_connections_arrive() {
    let ops = ops(&[
        ("MAX_CONNECTIONS", "17"),
        ("FIRST_BYTE_TIMEOUT", "1s"),
        ("HEADER_TIMEOUT", "2s"),
        ("IDLE_TIMEOUT", "off"),
        ("STALL_TIMEOUT", "4s"),
    ]);
    let connections = format!("{:?}", ops.connections());
    for limit in [
        "max_connections: Some(17)",
        "first_byte: Some(1s)",
        "header: Some(2s)",
        "idle: None",
        "stall: Some(4s)",
    ] {
        assert!(connections.contains(limit), "{limit}: {connections}");
    }
}

/// The trace of each request.
#[derive(Clone, Default)]
struct Traces(Arc<Mutex<Vec<Option<TraceIds>>>>);

impl Observe for Traces {
    type Exchange = ();

    fn on_request<B>(&self, _: &mut Request<B>, facts: &mut Facts) {
        self.0.lock().unwrap().push(facts.trace_ids());
    }

    fn on_end(&self, (): &mut (), _: &Ending<'_>, _: &Facts) {}
}

/// Sends requests of a caller, and returns their traces and what was logged.
fn exchange(
    ops: &Ops,
    path: &str,
    count: usize,
    parent: Option<&str>,
) -> (Vec<Option<TraceIds>>, Log) {
    let log = Log::default();
    let traces = Traces::default();
    let app = Router::new()
        .route("/orders/{id}", get(async || "an order"))
        .layer(ops.layer().with_observer(traces.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    log.of(|| {
        runtime.block_on(async {
            for _ in 0..count {
                let mut request = Request::get(path);
                if let Some(parent) = parent {
                    request = request.header("traceparent", parent);
                }
                let request = request.body(Body::empty()).unwrap();
                let response = app.clone().oneshot(request).await.unwrap();
                response.into_body().collect().await.unwrap();
            }
        });
    });
    let traces = traces.0.lock().unwrap().clone();
    (traces, log)
}

const ACCESS: &str = "tower_ops::access";

#[test]
fn the_length_of_the_history_arrives() {
    let ops = ops(&[("MAX_HISTORY", "2")]);
    exchange(&ops, "/orders/7", 5, None);
    assert_eq!(ops.requests().unwrap().history().len(), 2);
}

#[test]
fn the_most_series_arrive() {
    let error = builder(&[("MAX_SERIES", "9")]).build().unwrap_err();
    assert!(error.to_string().contains("max_series: 9 "), "{error}");
}

#[tokio::test]
async fn trusted_proxies_arrive() {
    for (trusted, expected) in [
        ("10.0.0.0/8, 127.0.0.0/8", "203.0.113.9"),
        ("10.0.0.0/8", "127.0.0.1"),
    ] {
        let ops = ops(&[("TRUSTED_PROXIES", trusted), ("PRE_DRAIN", "0s")]);
        let client = get(async |client: ClientAddr| client.ip().to_string());
        let app = Router::new().route("/client", client).layer(ops.layer());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = tokio::spawn({
            let ops = ops.clone();
            async move { ops.serve(listener, app).await }
        });
        let mut client = RawHttp1::connect(addr).await.unwrap();
        let headers = [("x-forwarded-for", "203.0.113.9")];
        client
            .send_request("GET", "/client", &headers, "")
            .await
            .unwrap();
        let head = client.read_head().await.unwrap();
        let body = client.read_body(&head).await.unwrap();
        assert_eq!(body.data, expected);
        serving.abort();
    }
}

#[test]
fn the_settings_of_traces_arrive() {
    let one = |vars: &[(&str, &str)], parent| exchange(&ops(vars), "/orders/7", 1, parent).0[0];
    assert_eq!(one(&[("TRACE", "off")], None), None);
    assert!(one(&[("TRACE", "on")], None).unwrap().is_sampled());
    assert!(
        !one(&[("TRACE_SAMPLE_RATIO", "0")], None)
            .unwrap()
            .is_sampled()
    );
    let of_caller = |ids: Option<TraceIds>| format!("{:032x}", ids.unwrap().trace_id()) == TRACE;
    assert!(of_caller(one(&[("TRACE_SAMPLE_RATIO", "0")], Some(PARENT))));
    assert!(of_caller(one(
        &[("TRACE_PUBLIC_ENDPOINT", "off")],
        Some(PARENT)
    )));
    assert!(!of_caller(one(
        &[("TRACE_PUBLIC_ENDPOINT", "on")],
        Some(PARENT)
    )));
}

#[test]
fn the_access_log_arrives() {
    for (value, path, is_logged) in [
        ("on", "/orders/7", true),
        ("off", "/orders/7", false),
        ("off", "/nothing", false),
        ("1", "/orders/7", true),
        ("0", "/orders/7", false),
        ("0", "/nothing", true), // what failed is logged all the same
    ] {
        let (_, log) = exchange(&ops(&[("ACCESS_LOG", value)]), path, 1, None);
        assert_eq!(log.has("INFO", ACCESS), is_logged, "{value} {path}");
    }
    let off_in_code = Ops::builder("orders")
        .for_tests()
        .without_access_log()
        .without_spans();
    let ops = off_in_code.settings(settings(&[("ACCESS_LOG", "on"), ("TRACE", "on")]));
    let (_, log) = exchange(&ops.build().unwrap(), "/orders/7", 1, None);
    assert!(
        log.has("INFO", ACCESS),
        "a setting wins over code before it"
    );
}

#[test]
fn code_after_the_settings_wins() {
    let ops = builder(&[
        ("MAX_CONNECTIONS", "17"),
        ("IDLE_TIMEOUT", "9s"),
        ("ACCESS_LOG", "on"),
    ])
    .connections(|connections| connections.max_connections(18))
    .without_access_log()
    .build()
    .unwrap();
    let connections = format!("{:?}", ops.connections());
    assert!(
        connections.contains("max_connections: Some(18)"),
        "{connections}"
    );
    assert!(connections.contains("idle: Some(9s)"), "{connections}");
    assert!(!exchange(&ops, "/orders/7", 1, None).1.has("INFO", ACCESS));
}

#[test]
fn unknown_names_and_bad_values_are_reported_together() {
    let found = problems(&[
        ("PATH", "/bin"),
        ("TOWER_OPS_ADDR", "0.0.0.0:8080"),
        ("TOWER_OPS_COLOUR", "blue"),
        ("TOWER_OPS_DRAIN_TIMEOUT", "20"),
        ("TOWER_OPS_GRACE_PERIOD", "2days"),
        ("TOWER_OPS_IDLE_TIMEOUT", "0s"),
        ("TOWER_OPS_MAX_HISTORY", "0"),
        ("TOWER_OPS_PRE_DRAIN", "5s"),
        ("TOWER_OPS_TRACE", "yes"),
        ("TOWER_OPS_TRUSTED_PROXIES", "10.0.0.0/99,10.0.0.0/8,x"),
        ("TOWER_OPS_drain_timeout", "20s"),
    ]);
    assert_eq!(
        found,
        [
            "TOWER_OPS_ADDR: is not a setting; the nearest is TOWER_OPS_OPS_ADDR",
            "TOWER_OPS_COLOUR: is not a setting",
            "TOWER_OPS_DRAIN_TIMEOUT: \"20\" is not a duration of at most a day, such as \"30s\"",
            "TOWER_OPS_GRACE_PERIOD: \"2days\" is not a duration of at most a day, such as \"30s\"",
            "TOWER_OPS_IDLE_TIMEOUT: \"0s\" is not a duration above 0s, such as \"30s\", or \"off\"",
            "TOWER_OPS_MAX_HISTORY: \"0\" is not a number from 1 to 1000000",
            "TOWER_OPS_TRACE: \"yes\" is not \"on\" or \"off\"",
            "TOWER_OPS_TRUSTED_PROXIES: \"10.0.0.0/99\" has a prefix of no such length, such as \
             \"10.0.0.0/8\" or \"2001:db8::/32\"",
            "TOWER_OPS_TRUSTED_PROXIES: \"x\" is not a network, such as \"10.0.0.0/8\" or \
             \"2001:db8::/32\"",
            "TOWER_OPS_drain_timeout: is not a setting; the nearest is TOWER_OPS_DRAIN_TIMEOUT",
        ]
    );
}

#[cfg(unix)]
#[test]
fn what_is_not_unicode_is_a_problem() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let value = OsStr::from_bytes(b"\xff");
    let error = Settings::from_vars([("TOWER_OPS_TRACE", value)]).unwrap_err();
    assert_eq!(error.problems(), ["TOWER_OPS_TRACE: is not valid Unicode"]);
}

#[test]
fn variables_of_others_and_empty_ones_are_left_alone() {
    let none = settings(&[
        ("TRACE", ""),
        ("STATE_TOKEN", TOKEN),
        ("STATE_TOKEN_NEXT", TOKEN),
        ("TEST_PYTHON", "python3"),
        // Of a service that is named tower-ops, and of one that is named tower-ops-demo.
        ("SERVICE_HOST", "10.0.0.1"),
        ("SERVICE_PORT", "80"),
        ("PORT", "tcp://10.0.0.1:80"),
        ("PORT_80_TCP_ADDR", "10.0.0.1"),
        ("DEMO_SERVICE_HOST", "10.0.0.2"),
        ("DEMO_SERVICE_PORT_HTTP", "80"),
        ("DEMO_PORT_80_TCP", "tcp://10.0.0.2:80"),
    ]);
    assert_eq!(none, Settings::default());
    let without_a_service = [("TOWER_OPS_PORT", "80")];
    assert_eq!(problems(&without_a_service).len(), 1);
}

#[test]
fn the_first_wins_where_settings_are_joined() {
    let first = settings(&[("PRE_DRAIN", "1s")]);
    let second = settings(&[("PRE_DRAIN", "2s"), ("MAX_HISTORY", "5")]);
    let both = settings(&[("PRE_DRAIN", "1s"), ("MAX_HISTORY", "5")]);
    assert_eq!(first.or(second), both);
    assert_eq!(
        format!("{both:?}"),
        r#"Settings {"pre_drain": "1s", "max_history": "5"}"#
    );
}

/// The environment of a process of its own.
#[test]
fn the_environment_of_the_process_is_read() {
    if std::env::var_os("CASE").is_some() {
        let settings = Settings::from_env().unwrap();
        assert_eq!(format!("{settings:?}"), r#"Settings {"pre_drain": "3s"}"#);
        return;
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_environment_of_the_process_is_read"])
        .env("CASE", "1")
        .env("TOWER_OPS_PRE_DRAIN", "3s")
        .status();
    assert!(status.unwrap().success());
}

#[cfg(feature = "serde")]
mod serde {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_has_the_same_settings_in_types_of_its_own() {
        let file = json!({
            "ops_addr": "127.0.0.1:9999",
            "drain_timeout": "1m 30s",
            "max_connections": 17,
            "stall_timeout": "off",
            "trusted_proxies": ["10.0.0.0/8", "127.0.0.1"],
            "trace": false,
            "trace_sample_ratio": 0.1,
            "access_log": 1,
            "pre_drain": null,
        });
        let of_file: Settings = serde_json::from_value(file).unwrap();
        let same = settings(&[
            ("OPS_ADDR", "127.0.0.1:9999"),
            ("DRAIN_TIMEOUT", "1m 30s"),
            ("MAX_CONNECTIONS", "17"),
            ("STALL_TIMEOUT", "off"),
            ("TRUSTED_PROXIES", "10.0.0.0/8,127.0.0.1"),
            ("TRACE", "false"),
            ("TRACE_SAMPLE_RATIO", "0.1"),
            ("ACCESS_LOG", "1"),
        ]);
        assert_eq!(of_file, same);
    }

    #[test]
    fn all_that_is_wrong_in_a_file_is_one_error() {
        let file = r#"{
            "drain_timout": "20s",
            "drain_timeout": 20,
            "trace": {"on": true},
            "max_history": [5],
            "trusted_proxies": [["10.0.0.0/8"]],
            "idle_timeout": false,
            "pre_drain": "5s",
            "pre_drain": "6s"
        }"#;
        let error = serde_json::from_str::<Settings>(file)
            .unwrap_err()
            .to_string();
        for problem in [
            "drain_timout: is not a setting; the nearest is drain_timeout",
            "drain_timeout: \"20\" is not a duration of at most a day, such as \"30s\"",
            "trace: a table is not \"on\" or \"off\"",
            "max_history: a list is not a number from 1 to 1000000",
            "trusted_proxies: a table is not networks",
            "idle_timeout: \"false\" is not a duration above 0s",
            "pre_drain: is given twice",
        ] {
            assert!(
                error.contains(&format!("\n  - {problem}")),
                "{problem}: {error}"
            );
        }
        assert_eq!(
            error.lines().filter(|it| it.starts_with("  - ")).count(),
            7,
            "{error}"
        );
    }

    #[test]
    fn it_can_be_a_part_of_the_settings_of_an_application() {
        #[derive(::serde::Deserialize)]
        struct Own {
            name: String,
            operations: Settings,
        }

        #[derive(::serde::Deserialize)]
        struct Flat {
            name: String,
            #[serde(flatten)]
            operations: Settings,
        }

        let own = json!({"name": "orders", "operations": {"max_history": 5}});
        let own: Own = serde_json::from_value(own).unwrap();
        let flat = json!({"name": "orders", "max_history": 5});
        let flat: Flat = serde_json::from_value(flat).unwrap();
        assert_eq!((own.name, own.operations), (flat.name, flat.operations));
    }
}
