//! The log on the operations endpoint, and what the bundle logs of a request.
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::{Router, routing::get};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use serde_json::Value as Json;
use tokio::time::{Instant, sleep};
use tower::{ServiceExt, service_fn};
use tower_ops::admin::{Mount, Secret};
use tower_ops::logs::{Format, Logs, LogsBuilder};
use tower_ops::trace::{Inbound, RouteRule};
use tower_ops::{Ops, OpsBuilder};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt;

const READ: &str = "a-token-to-look-at-things";
const WRITE: &str = "a-token-to-change-things";
const LONG: Duration = Duration::from_secs(20);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A service whose log is that of this thread.
struct Orders {
    ops: Ops,
    app: Router,
    logs: Logs,
    sink: Sink,
    _default: DefaultGuard,
}

impl Orders {
    fn new() -> Self {
        Self::with(|logs| logs, |ops| ops)
    }

    fn with(
        log: impl FnOnce(LogsBuilder) -> LogsBuilder,
        change: impl FnOnce(OpsBuilder) -> OpsBuilder,
    ) -> Self {
        let sink = Sink::default();
        let logs = Logs::builder().environment(false).format(Format::Json);
        let logs = log(logs).writer(sink.clone()).build().unwrap();
        let subscriber = tracing_subscriber::registry().with(logs.layer());
        let default = tracing::subscriber::set_default(subscriber);
        let ops = Ops::builder("orders")
            .logs(logs.clone())
            .tokens(|tokens| tokens.read(Secret::new(READ)).write(Secret::new(WRITE)))
            .for_tests();
        let ops = change(ops).build().unwrap();
        let app = Router::new()
            .route("/orders/{id}", get(order))
            .route("/quiet", get(async || "nothing is logged of it"))
            .route("/panic", get(panics))
            .layer(ops.layer().with_catch_panic());
        Self {
            ops,
            app,
            logs,
            sink,
            _default: default,
        }
    }

    /// A request to the application, with that id and trace.
    async fn order(&self, path: &str, id: &str) -> u16 {
        let request = Request::get(path)
            .header("x-request-id", id)
            .header("traceparent", PARENT)
            .body(Body::empty())
            .unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        body.collect().await.unwrap();
        head.status.as_u16()
    }

    /// A request to the operations endpoint.
    async fn operate(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: &str,
    ) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("host", "localhost:8080");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.ops.operations().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        (head.status.as_u16(), text)
    }

    async fn level(&self) -> Json {
        let (status, text) = self.operate(Method::GET, "/loglevel", Some(READ), "").await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// What was logged since the last time.
    fn lines(&self) -> Vec<Json> {
        assert!(self.logs.flush(LONG));
        let bytes = std::mem::take(&mut *self.sink.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn lines_of(&self, target: &str) -> Vec<Json> {
        let mut lines = self.lines();
        lines.retain(|line| line["target"] == target);
        lines
    }
}

async fn order() -> &'static str {
    tracing::info!(target: "orders", "found");
    tracing::debug!(target: "orders", "looked up");
    "an order"
}

async fn panics() {
    panic!("in the handler");
}

#[tokio::test]
async fn who_may_write_changes_the_level_and_others_may_not() {
    let orders = Orders::new();
    let put = async |token, path, body| orders.operate(Method::PUT, path, token, body).await;
    assert_eq!(put(None, "/loglevel", "debug").await.0, 401);
    assert_eq!(put(Some(READ), "/loglevel", "debug").await.0, 403);
    for (path, directives) in [
        ("/loglevel", "orders=loud"),
        ("/loglevel", ""),
        ("/loglevel?for=soon", "debug"),
        ("/loglevel?for=25h", "debug"),
        ("/loglevel?until=later", "debug"),
    ] {
        let (status, text) = put(Some(WRITE), path, directives).await;
        assert_eq!(status, 400, "{path} {directives:?}: {text}");
        assert!(text.len() > 10, "a reason: {text}");
    }
    assert_eq!(orders.level().await["filter"], "info");

    let (status, text) = put(Some(WRITE), "/loglevel", "warn,orders=debug").await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(orders.level().await["filter"], "warn,orders=debug");
    let (status, _) = orders.operate(Method::GET, "/loglevel", None, "").await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn a_level_for_a_while_shows_the_next_request_and_goes_back_by_itself() {
    let orders = Orders::new();
    orders.order("/orders/7", "before").await;
    assert_eq!(orders.lines_of("orders").len(), 1);

    let path = "/loglevel?for=1h";
    let put = orders
        .operate(Method::PUT, path, Some(WRITE), "debug")
        .await;
    assert_eq!(put.0, 200, "{}", put.1);
    let level = orders.level().await;
    assert_eq!(
        (&level["filter"], &level["returns_to"]),
        (&"debug".into(), &"info".into())
    );
    orders.order("/orders/7", "meanwhile").await;
    let lines = orders.lines_of("orders");
    let messages: Vec<_> = lines.iter().map(|line| &line["message"]).collect();
    assert_eq!(messages, ["found", "looked up"]);

    // On the clock of a thread of its own.
    let path = "/loglevel?for=50ms";
    let put = orders
        .operate(Method::PUT, path, Some(WRITE), "debug")
        .await;
    assert_eq!(put.0, 200, "{}", put.1);
    let began = Instant::now();
    while orders.level().await["filter"] != "info" {
        assert!(began.elapsed() < LONG, "it does not go back");
        sleep(Duration::from_millis(5)).await;
    }
    orders.lines();
    orders.order("/orders/7", "after").await;
    assert_eq!(orders.lines_of("orders").len(), 1);
}

#[tokio::test]
async fn each_request_is_logged_once_with_the_ids_that_its_handler_and_the_history_have() {
    let orders = Orders::new();
    assert_eq!(orders.order("/orders/7", "it").await, 200);
    let lines = orders.lines();
    let of = |target: &str| -> Vec<&Json> {
        lines
            .iter()
            .filter(|line| line["target"] == target)
            .collect()
    };
    let ([access], [handler]) = (&of("tower_ops::access")[..], &of("orders")[..]) else {
        panic!("{lines:?}");
    };
    for line in [access, handler] {
        assert_eq!(line["request_id"], "it", "{line}");
        assert_eq!(line["trace_id"], TRACE, "{line}");
        assert_eq!(line["trace_flags"], "01", "{line}");
    }
    assert_eq!(access["span_id"], handler["span_id"]);
    assert_eq!(
        (&access["route"], &access["status"]),
        (&"/orders/{id}".into(), &200.into())
    );

    let path = "/requests/history";
    let (status, text) = orders.operate(Method::GET, path, Some(READ), "").await;
    assert_eq!(status, 200, "{text}");
    let history: Json = serde_json::from_str(&text).unwrap();
    let [request] = &history["requests"].as_array().unwrap()[..] else {
        panic!("{text}");
    };
    assert_eq!(request["request_id"], "it");
    assert_eq!(request["trace_id"], TRACE);
    assert_eq!(request["span_id"], access["span_id"]);
}

#[tokio::test]
async fn a_panic_is_logged_once_with_the_request() {
    let orders = Orders::new();
    assert_eq!(orders.order("/panic", "it").await, 500);
    let access = orders.lines_of("tower_ops::access");
    let [access] = &access[..] else {
        panic!("{access:?}");
    };
    assert_eq!(
        (&access["level"], &access["outcome"]),
        (&"ERROR".into(), &"panicked".into())
    );
    assert_eq!(access["request_id"], "it");
}

#[tokio::test]
async fn the_access_log_and_the_trace_are_as_they_are_set() {
    let orders = Orders::with(
        |logs| logs,
        |ops| {
            ops.access_log(|log| log.with_route("/quiet", RouteRule::Off).with_path())
                .trace(|spans| spans.with_inbound(Inbound::public_endpoint()))
        },
    );
    orders.order("/quiet", "quiet").await;
    orders.order("/orders/7", "it").await;
    let access = orders.lines_of("tower_ops::access");
    let [access] = &access[..] else {
        panic!("{access:?}");
    };
    assert_eq!(access["path"], "/orders/7");
    let trace = access["trace_id"].as_str().unwrap();
    assert!(trace.len() == 32 && trace != TRACE, "a new trace: {access}");

    let silent = Orders::with(|logs| logs, OpsBuilder::without_access_log);
    silent.order("/orders/7", "it").await;
    let lines = silent.lines();
    let targets: Vec<_> = lines.iter().map(|line| &line["target"]).collect();
    assert_eq!(targets, ["orders"]);
    assert_eq!(lines[0]["trace_id"], TRACE);

    let without = Orders::with(|logs| logs, OpsBuilder::without_spans);
    without.order("/orders/7", "it").await;
    let lines = without.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (&lines[0]["request_id"], &lines[0]["trace_id"]),
        (&"it".into(), &Json::Null)
    );
}

#[tokio::test]
async fn the_last_lines_of_a_request_are_for_who_may_see_details() {
    let orders = Orders::with(|logs| logs.ring(64 * 1024), |ops| ops);
    orders.order("/orders/7", "one").await;
    orders.order("/orders/8", "two").await;
    assert!(orders.logs.flush(LONG));
    let path = "/logs?request_id=two";
    assert_eq!(orders.operate(Method::GET, path, None, "").await.0, 401);
    let (status, text) = orders.operate(Method::GET, path, Some(READ), "").await;
    assert_eq!(status, 200, "{text}");
    let lines: Vec<Json> = { text.lines() }
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let targets: Vec<_> = lines.iter().map(|line| &line["target"]).collect();
    assert_eq!(targets, ["orders", "tower_ops::access"]);
    assert!(lines.iter().all(|line| line["request_id"] == "two"));
}

#[tokio::test]
async fn what_is_lost_is_counted_from_the_start() {
    let orders = Orders::new();
    let (status, text) = orders
        .operate(Method::GET, "/metrics", Some(READ), "")
        .await;
    assert_eq!(status, 200);
    for level in ["error", "warn", "info", "debug", "trace"] {
        let series = format!("tower_ops_log_lines_dropped_total{{level=\"{level}\"}} 0\n");
        assert!(text.contains(&series), "{series} is not in {text}");
    }
}

#[tokio::test]
async fn without_a_log_its_paths_are_the_applications() {
    let page = service_fn(async |_| Ok::<_, Infallible>(Response::new("mine".to_owned())));
    let builder = || {
        let mount = move |path| Mount::new(path, page);
        Ops::builder("orders")
            .for_tests()
            .operations(move |admin| admin.mount(mount("/loglevel")).mount(mount("/logs")))
    };
    builder().validate().unwrap();
    builder().logs(None).validate().unwrap();
    let logs = Logs::builder().environment(false).writer(io::sink());
    let error = builder()
        .logs(logs.build().unwrap())
        .validate()
        .unwrap_err();
    assert_eq!(error.problems().len(), 2, "{error}");
    assert!(error.problems()[0].contains("/loglevel"), "{error}");
}
