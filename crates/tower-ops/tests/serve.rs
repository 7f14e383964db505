//! The server and the operations endpoint, over real sockets.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::{Router, routing::get};
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower_ops::lifecycle::ShutdownReport;
use tower_ops::{Ops, OpsBuilder, StartError};
use tower_ops_testing::{Head, Http2Client, RawHttp1, free_addr};

const LONG: Duration = Duration::from_secs(10);
const VERSION: &str = "x-tower-ops-version";

/// What a deadline under test is set to: the clock is the real one beside real sockets.
const SOON: Duration = Duration::from_millis(300);

fn builder(ops_addr: SocketAddr) -> OpsBuilder {
    let builder = Ops::builder("test").private_recorder();
    let builder = builder.lifecycle(|life| life.pre_drain(Duration::ZERO).signals(false));
    builder.ops_addr(ops_addr.to_string())
}

fn ops(ops_addr: SocketAddr) -> Ops {
    builder(ops_addr).build().unwrap()
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// An application that is being served.
struct Serving {
    ops: Ops,
    app: SocketAddr,
    operations: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<ShutdownReport, StartError>>,
}

impl Serving {
    async fn start(routes: Router) -> Self {
        Self::start_with(routes, |builder| builder).await
    }

    async fn start_with(routes: Router, change: impl FnOnce(OpsBuilder) -> OpsBuilder) -> Self {
        let operations = free_addr();
        let ops = change(builder(operations)).build().unwrap();
        let routes = routes.layer(ops.layer());
        let listener = TcpListener::bind(any_port()).await.unwrap();
        let app = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn({
            let ops = ops.clone();
            async move {
                let stopped = async { drop(stopped.await) };
                ops.serve_until(listener, routes, stopped).await
            }
        });
        let serving = Self {
            ops,
            app,
            operations,
            stop,
            task,
        };
        // Answered once it serves: the listener is bound already.
        let _ = Http2Client::connect(app).await.unwrap().get("/").await;
        serving
    }

    async fn stop(self) -> ShutdownReport {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap()
    }
}

/// One request on a connection of its own. The answer to HEAD must end with its head.
async fn ask(addr: SocketAddr, method: &str, path: &str) -> (Head, String) {
    let mut client = RawHttp1::connect(addr).await.unwrap();
    let close = [("connection", "close")];
    client.send_request(method, path, &close, "").await.unwrap();
    let head = client.read_head().await.unwrap();
    let body = if method == "HEAD" {
        client.read_some().await.unwrap()
    } else {
        client.read_body(&head).await.unwrap().data
    };
    (head, String::from_utf8(body.to_vec()).unwrap())
}

/// Routes `/held`, which signals that it began, and answers when it is released.
fn held() -> (Router, mpsc::UnboundedReceiver<()>, Arc<Notify>) {
    let (begun, begins) = mpsc::unbounded_channel();
    let go_on = Arc::new(Notify::new());
    let handler = {
        let go_on = Arc::clone(&go_on);
        async move || {
            begun.send(()).unwrap();
            go_on.notified().await;
            "finished"
        }
    };
    (Router::new().route("/held", get(handler)), begins, go_on)
}

/// Waits until connections to the address are refused.
async fn refused(addr: SocketAddr) {
    let refused = async {
        while tokio::net::TcpStream::connect(addr).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, refused).await.expect("a closed port");
}

#[tokio::test]
async fn the_application_answers_on_http1_and_http2_and_is_observed() {
    let serving = Serving::start(Router::new().route("/users/{id}", get(async || "a user"))).await;
    let (head, body) = ask(serving.app, "GET", "/users/1").await;
    assert_eq!((head.status.as_u16(), &*body), (200, "a user"));
    assert!(head.headers.contains_key("x-request-id"));
    assert!(
        !head.headers.contains_key(VERSION),
        "that is the endpoint's"
    );

    let client = Http2Client::connect(serving.app).await.unwrap();
    let response = client.get("/users/2").await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers().contains_key("x-request-id"));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "a user");

    let (_, text) = ask(serving.operations, "GET", "/metrics").await;
    for version in ["1.1", "2"] {
        let line = format!(
            "http_server_request_duration_seconds_count{{http_request_method=\"GET\",\
             url_scheme=\"http\",http_route=\"/users/{{id}}\",\
             network_protocol_version=\"{version}\",http_response_status_code=\"200\"}} 1"
        );
        assert!(
            text.lines().any(|it| it == line),
            "{line} is not in\n{text}"
        );
    }
    serving.stop().await;
}

#[tokio::test]
async fn every_answer_of_the_operations_endpoint_carries_the_version() {
    let ops = ops(any_port());
    let endpoint = ops.start_operations().unwrap();
    ops.mark_ready();
    for (method, path, status, content) in [
        ("GET", "/metrics", 200, "server_in_flight_requests 0\n"),
        (
            "GET",
            "/metrics?name=x",
            200,
            "server_in_flight_requests 0\n",
        ),
        ("GET", "/health", 200, "{\"status\":\"ok\"}"),
        ("GET", "/ready", 200, "{\"status\":\"ok\"}"),
        ("GET", "/startup", 200, "{\"status\":\"ok\"}"),
        (
            "GET",
            "/",
            200,
            "test, ready, up 0s\n\n/metrics           for Prometheus\n",
        ),
        ("GET", "/info", 200, "\"phase\":\"ready\""),
        (
            "GET",
            "/connections",
            200,
            "{\"connections\":[],\"open\":0}",
        ),
        ("GET", "/connections/7", 404, "no connection"),
        ("DELETE", "/connections/7", 403, "token"),
        ("GET", "/requests", 200, "{\"requests\":[],\"in_flight\":0"),
        ("GET", "/requests/history", 200, "{\"requests\":["),
        ("GET", "/requests/stats", 200, "{\"in_flight\":0"),
        ("GET", "/requests?limit=x", 400, "limit"),
        ("POST", "/requests", 405, ""),
        ("GET", "/nowhere", 404, "not found"),
        ("GET", "//", 404, "not found"),
        ("POST", "/metrics", 405, ""),
        ("POST", "/health", 405, ""),
        ("HEAD", "/metrics", 200, ""),
        ("HEAD", "/health", 200, ""),
        ("HEAD", "/", 200, ""),
        ("HEAD", "/nowhere", 404, ""),
    ] {
        let (head, body) = ask(endpoint.addr(), method, path).await;
        assert_eq!(head.status, status, "{method} {path}");
        assert_eq!(
            head.headers[VERSION],
            env!("CARGO_PKG_VERSION"),
            "{method} {path}"
        );
        assert!(body.contains(content), "{method} {path}: {body}");
        if method == "HEAD" {
            assert_eq!(body, "");
            assert_ne!(head.headers["content-length"], "0", "{path}");
        }
    }
}

#[tokio::test]
async fn the_endpoint_says_not_ready_until_the_application_is_served() {
    let ops = ops(any_port());
    let endpoint = ops.start_operations().unwrap();
    for (path, status) in [("/health", 200), ("/ready", 503), ("/startup", 503)] {
        assert_eq!(
            ask(endpoint.addr(), "GET", path).await.0.status,
            status,
            "{path}"
        );
    }
    drop(endpoint);

    let serving = Serving::start(Router::new()).await;
    for path in ["/health", "/ready", "/startup"] {
        assert_eq!(
            ask(serving.operations, "GET", path).await.0.status,
            200,
            "{path}"
        );
    }
    let health = serving.ops.health().clone();
    serving.stop().await;
    assert!(!health.is_ready());
}

#[tokio::test]
async fn requests_in_flight_at_shutdown_finish_while_new_connections_are_refused() {
    let (routes, mut begins, go_on) = held();
    let serving = Serving::start(routes).await;
    let mut http1 = RawHttp1::connect(serving.app).await.unwrap();
    http1.send_request("GET", "/held", &[], "").await.unwrap();
    let http2 = Http2Client::connect(serving.app).await.unwrap();
    let http2 = tokio::spawn(async move { http2.get("/held").await });
    for _ in 0..2 {
        timeout(LONG, begins.recv()).await.unwrap();
    }
    let idle = StdStream::connect(serving.app).unwrap();

    let Serving {
        app,
        operations,
        stop,
        task,
        ..
    } = serving;
    stop.send(()).unwrap();
    refused(app).await;
    // The probes answer that in the meantime: alive, and not ready.
    assert_eq!(ask(operations, "GET", "/health").await.0.status, 200);
    assert_eq!(ask(operations, "GET", "/ready").await.0.status, 503);
    assert!(!task.is_finished());

    go_on.notify_waiters();
    let head = http1.read_head().await.unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(http1.read_body(&head).await.unwrap().data, "finished");
    let response = http2.await.unwrap().unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "finished");
    timeout(LONG, task)
        .await
        .expect("no wait for the rest")
        .unwrap()
        .unwrap();
    refused(operations).await;
    drop(idle);
}

fn drains_soon(builder: OpsBuilder) -> OpsBuilder {
    builder.lifecycle(|life| life.drain_timeout(SOON))
}

#[tokio::test]
async fn what_does_not_finish_is_aborted_when_the_time_to_drain_is_over() {
    let (routes, mut begins, _) = held();
    let serving = Serving::start_with(routes, drains_soon).await;
    let mut http1 = RawHttp1::connect(serving.app).await.unwrap();
    http1.send_request("GET", "/held", &[], "").await.unwrap();
    timeout(LONG, begins.recv()).await.unwrap();
    let start = tokio::time::Instant::now();
    let report = timeout(LONG, serving.stop()).await.expect("an end");
    let took = start.elapsed();
    assert!(took >= SOON, "{took:?}");
    assert_eq!(report.aborted(), 1, "{report}");
    let text = report.to_string();
    assert!(text.contains("GET /held for "), "{text}");
}

#[tokio::test]
async fn each_request_that_is_cut_off_counts_once() {
    const MANY: usize = 250;
    let (routes, mut begins, _) = held();
    let serving = Serving::start_with(routes, drains_soon).await;
    let mut clients = Vec::new();
    for _ in 0..MANY {
        let mut client = RawHttp1::connect(serving.app).await.unwrap();
        client.send_request("GET", "/held", &[], "").await.unwrap();
        timeout(LONG, begins.recv()).await.unwrap();
        clients.push(client);
    }
    let report = timeout(LONG, serving.stop()).await.expect("an end");
    assert_eq!(report.aborted(), MANY as u64, "{report}");
}

#[tokio::test]
async fn dropping_the_server_drops_its_handlers_on_http1_and_http2() {
    struct Guard(mpsc::UnboundedSender<&'static str>);
    impl Drop for Guard {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }
    let (seen, mut sees) = mpsc::unbounded_channel();
    let routes = Router::new().route(
        "/held",
        get(async move || {
            seen.send("begun").unwrap();
            let _guard = Guard(seen);
            std::future::pending::<()>().await;
        }),
    );
    let serving = Serving::start(routes).await;
    let mut http1 = RawHttp1::connect(serving.app).await.unwrap();
    http1.send_request("GET", "/held", &[], "").await.unwrap();
    let http2 = Http2Client::connect(serving.app).await.unwrap();
    let http2 = tokio::spawn(async move { http2.get("/held").await });
    for _ in 0..2 {
        assert_eq!(timeout(LONG, sees.recv()).await.unwrap(), Some("begun"));
    }
    serving.task.abort();
    for _ in 0..2 {
        assert_eq!(timeout(LONG, sees.recv()).await.unwrap(), Some("dropped"));
    }
    assert!(http2.await.unwrap().is_err());
    refused(serving.app).await;
    refused(serving.operations).await;
}

#[tokio::test]
async fn a_taken_operations_port_is_an_error_that_names_the_address_and_the_setting() {
    let taken = StdListener::bind(any_port()).unwrap();
    let addr = taken.local_addr().unwrap();
    let ops = ops(addr);
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let error = ops.serve(listener, Router::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    // As `main` prints what it returns.
    assert_eq!(format!("{error:?}"), error.to_string());
    assert!(format!("{error:?}").starts_with("the operations endpoint cannot listen on"));
    let text = error.to_string();
    assert!(text.contains(&addr.to_string()), "{text}");
    assert!(text.contains("ops_addr"), "{text}");
    assert!(!ops.health().is_ready());
    assert!(ops.start_operations().is_err());
}

#[tokio::test]
async fn the_endpoint_has_given_its_port_back_when_it_is_dropped() {
    let addr = free_addr();
    let ops = ops(addr);
    for _ in 0..50 {
        let endpoint = ops.start_operations().expect("the port is free again");
        assert_eq!(endpoint.addr(), addr);
        // With a connection that is open meanwhile.
        let _client = StdStream::connect(addr).unwrap();
        drop(endpoint);
        let error = StdStream::connect(addr).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}

#[tokio::test]
async fn a_blocked_application_does_not_keep_the_probes_from_answering() {
    let operations = free_addr();
    let (blocked, is_blocked) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    let (listens, app) = oneshot::channel();
    let (end, ended) = oneshot::channel::<()>();
    let application = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(async {
            let handler = async move || {
                blocked.send(()).unwrap();
                // Blocks its thread, on purpose, until the probes are answered.
                released.lock().unwrap().recv().unwrap();
            };
            let listener = TcpListener::bind(any_port()).await.unwrap();
            listens.send(listener.local_addr().unwrap()).unwrap();
            let ops = ops(operations);
            let routes = Router::new().route("/block", get(handler));
            let end = async { drop(ended.await) };
            ops.serve_until(listener, routes, end).await.unwrap();
        });
    });
    let mut client = RawHttp1::connect(app.await.unwrap()).await.unwrap();
    client.send_request("GET", "/block", &[], "").await.unwrap();
    is_blocked.recv().unwrap();
    // It is blocked until all of them are answered.
    for path in ["/health", "/ready", "/startup", "/metrics"] {
        let answered = timeout(LONG, ask(operations, "GET", path)).await;
        assert_eq!(answered.expect(path).0.status, 200, "{path}");
    }
    release.send(()).unwrap();
    end.send(()).unwrap();
    application.join().unwrap();
}

#[tokio::test]
async fn a_panicking_handler_does_not_end_the_server() {
    let routes = Router::new()
        .route("/panic", get(panics))
        .route("/", get(async || "fine"));
    let serving = Serving::start(routes).await;
    let mut client = RawHttp1::connect(serving.app).await.unwrap();
    client.send_request("GET", "/panic", &[], "").await.unwrap();
    assert!(client.read_head().await.is_err());
    let client = Http2Client::connect(serving.app).await.unwrap();
    assert!(client.get("/panic").await.is_err());
    assert_eq!(ask(serving.app, "GET", "/").await.1, "fine");
    serving.stop().await;
}

async fn panics() {
    panic!("in the handler");
}

/// Sends this and no more, and waits for the server to close the connection.
async fn closed_after(bytes: &str) {
    let serving = Serving::start_with(Router::new(), |builder| {
        builder.connections(|it| it.first_byte_timeout(SOON).header_timeout(SOON))
    })
    .await;
    let client = RawHttp1::connect(serving.app).await.unwrap();
    let mut client = client.with_deadline(LONG);
    let begun = tokio::time::Instant::now();
    client.send(bytes).await.unwrap();
    assert!(client.read_some().await.unwrap().is_empty());
    assert!(begun.elapsed() >= SOON / 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_client_that_begins_a_request_and_stops_is_closed() {
    closed_after("G").await;
    closed_after("GET / HTTP/1.1\r\nhost:").await;
}

#[tokio::test]
async fn a_client_that_sends_nothing_is_closed() {
    closed_after("").await;
}
