//! Each example as a process: it does what its header says, answers its probes,
//! ends by a signal, and names what is wrong with its settings.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::net::TcpListener;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use tower_ops_testing::{Http2Client, Process, RawHttp1, free_addr};
use tower_ops_tests::{Protocol, Service};

const EXAMPLES: [&str; 5] = ["quickstart", "playground", "health", "grpc", "hyper"];
const DEADLINE: Duration = Duration::from_secs(10);
/// What a machine that is busy with the other tests takes.
const LEEWAY: Duration = Duration::from_secs(8);
/// `EchoRequest { message: "hello" }`, framed; the reply is the same.
const HELLO: &str = "\0\0\0\0\u{7}\n\u{5}hello";
/// `FailRequest { messages: 1, code: 5, message: "gone" }`, framed.
const FAIL: &str = "\0\0\0\0\u{a}\u{8}\u{1}\u{10}\u{5}\u{1a}\u{4}gone";

#[tokio::test]
async fn quickstart_does_what_its_header_says() {
    let service = Service::start("quickstart").await;
    let (status, headers, text) = service
        .get("/users/42", &[("x-request-id", "demo-1")])
        .await;
    assert_eq!((status, text.as_str()), (200, "user 42\n"));
    assert_eq!(headers["x-request-id"], "demo-1");
    assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(
        service.ops_get("/ready").await,
        (200, "{\"status\":\"ok\"}\n".to_owned())
    );
    service.scrape_idle().await;
    has_line(
        &service,
        r#"server_requests_total{outcome="completed",class="success"} 1"#,
    )
    .await;
}

#[tokio::test]
async fn health_does_what_its_header_says() {
    let service = Service::start("health").await;
    let (status, _, text) = service.get("/orders", &[]).await;
    assert_eq!((status, text.as_str()), (200, "0 orders\n"));
    has_line(&service, r#"dependency_up{name="database"} 1"#).await;
    for waiting in 1..=12 {
        let mut client = RawHttp1::connect(service.app()).await.unwrap();
        client.send_request("POST", "/jobs", &[], "").await.unwrap();
        assert_eq!(client.read_head().await.unwrap().status, 200, "{waiting}");
    }
    let start = Instant::now();
    while service.ops_get("/ready").await != (200, "{\"status\":\"degraded\"}\n".to_owned()) {
        assert!(start.elapsed() < DEADLINE, "the queue is never too long");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn playground_does_what_its_header_says() {
    let service = Service::start("playground").await;
    let (_, _, text) = service.get("/id", &[("x-request-id", "demo-1")]).await;
    assert_eq!(
        text,
        r#"{"extension":"demo-1","handler":"demo-1","header":"demo-1","spawned":"demo-1"}"#
    );
    let (_, _, text) = service
        .get("/call?to=/status/503", &[("x-request-id", "demo-2")])
        .await;
    let host = service.app();
    let begin = format!(r#"{{"host":"{host}","traceparent":"00-"#);
    assert!(text.starts_with(&begin), "{text}");
    assert!(text.ends_with(r#"","x-request-id":"demo-2"}"#), "{text}");
    let broken = Protocol::Http1.ask(host, "GET", "/error-body/1", &[], "");
    broken.await.unwrap_err();
    service.scrape_idle().await;
    for line in [
        r#"server_requests_total{outcome="completed",class="success"} 2"#,
        r#"server_requests_total{outcome="completed",class="server_error"} 1"#,
        r#"server_requests_total{outcome="body_failed",class="server_error"} 1"#,
    ] {
        has_line(&service, line).await;
    }
}

#[tokio::test]
async fn grpc_does_what_its_header_says() {
    let service = Service::start("grpc").await;
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let post = async |path, message| {
        let answer = Protocol::Http2.ask(service.app(), "POST", path, &headers, message);
        answer.await.unwrap()
    };
    let answer = post("/playground.Echo/Unary", HELLO).await;
    assert_eq!(answer.text(), HELLO);
    assert_eq!(answer.trailers["grpc-status"], "0");
    let answer = post("/playground.Echo/Fail", FAIL).await;
    assert_eq!(answer.text(), "\0\0\0\0\u{3}\n\u{1}0");
    assert_eq!(answer.trailers["grpc-status"], "5");
    assert_eq!(answer.trailers["grpc-message"], "gone");

    let samples = service.scrape_idle().await;
    for (method, status) in [
        ("playground.Echo/Unary", "OK"),
        ("playground.Echo/Fail", "NOT_FOUND"),
    ] {
        let labels = [("rpc_method", method), ("rpc_response_status_code", status)];
        let calls = samples.count("rpc_server_call_duration_seconds_count", &labels);
        assert_eq!(calls, 1, "{method}");
    }
}

#[tokio::test]
async fn hyper_does_what_its_header_says() {
    let service = Service::start("hyper").await;
    let (status, headers, text) = service.get("/hello", &[("x-request-id", "demo-1")]).await;
    assert_eq!((status, text.as_str()), (200, "GET /hello, id demo-1\n"));
    assert_eq!(headers["x-request-id"], "demo-1");
    assert_eq!(headers["content-length"], "22");
    service.scrape_idle().await;
    has_line(
        &service,
        r#"server_requests_total{outcome="completed",class="success"} 1"#,
    )
    .await;
}

/// How long an example serves on after the signal to stop.
const PRE_DRAIN: Duration = Duration::from_secs(5);

#[tokio::test]
async fn every_example_answers_its_probes_and_ends_by_a_signal() {
    let ended = EXAMPLES
        .into_iter()
        .flat_map(|example| ["TERM", "INT"].map(|signal| (example, signal)))
        .map(|(example, signal)| async move {
            let mut service = Service::start(example).await;
            // It is ready a moment after its ports are open.
            let until = Instant::now() + DEADLINE;
            while service.ops_get("/ready").await.0 != 200 {
                pause(until).await;
            }
            for path in ["/health", "/ready", "/startup"] {
                let answer = service.ops_get(path).await;
                assert_eq!(answer.0, 200, "{example} {path}: {}", answer.1);
            }
            service.scrape().await;
            // Connections that are kept alive, idle, do not hold it up.
            let http2 = Http2Client::connect(service.app()).await.unwrap();
            http2.get("/").await.unwrap();
            let mut http1 = None;
            if example != "grpc" {
                let client = http1.insert(RawHttp1::connect(service.app()).await.unwrap());
                client.send_request("GET", "/", &[], "").await.unwrap();
                let head = client.read_head().await.unwrap();
                client.read_body(&head).await.unwrap();
            }
            let took = end(&mut service, signal).await;
            assert!(took < PRE_DRAIN + LEEWAY, "{example} {signal}: {took:?}");
            let report = service.process().output().join("\n");
            let by = format!("shutdown by SIG{signal}: clean");
            assert!(report.contains(&by), "{example} {signal}: {report}");
        });
    join_all(ended).await;
}

#[tokio::test]
async fn a_request_in_flight_is_finished_first() {
    let mut service = Service::start("playground").await;
    let mut slow = RawHttp1::connect(service.app()).await.unwrap();
    slow.send_request("GET", "/slow/1500", &[], "")
        .await
        .unwrap();
    let until = Instant::now() + DEADLINE;
    while service
        .scrape()
        .await
        .count("server_in_flight_requests", &[])
        == 0
    {
        pause(until).await;
    }
    service.process().terminate().unwrap();

    // Not ready any more, but alive.
    while service.ops_get("/ready").await.0 != 503 {
        pause(until).await;
    }
    assert_eq!(service.ops_get("/health").await.0, 200);

    let head = slow.read_head().await.unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(
        slow.read_body(&head).await.unwrap().data,
        "waited 1500 ms\n"
    );
    let status = service.process().wait_exit(DEADLINE).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_connection_that_says_nothing_does_not_hold_the_end_up() {
    // Not so for tonic: it waits for the preface until the time to drain is over.
    let ended = ["quickstart", "playground", "hyper"].map(|example| async move {
        let mut service = Service::start(example).await;
        let silent = RawHttp1::connect(service.app()).await.unwrap();
        // Served by now, as those that came before it are.
        service.get("/", &[]).await;
        let took = end(&mut service, "TERM").await;
        assert!(took < PRE_DRAIN + LEEWAY, "{example}: {took:?}");
        drop(silent);
    });
    join_all(ended).await;
}

#[tokio::test]
async fn what_never_ends_is_given_up_after_the_time_to_drain() {
    let mut service = Service::start("playground").await;
    let mut stream = RawHttp1::connect(service.app()).await.unwrap();
    let path = "/stream/1000000/100";
    stream.send_request("GET", path, &[], "").await.unwrap();
    stream.read_head().await.unwrap();
    let took = end(&mut service, "TERM").await;
    let drain = PRE_DRAIN + Duration::from_secs(15);
    assert!(took >= drain && took < drain + LEEWAY, "{took:?}");
    let report = service.process().output().join("\n");
    assert!(
        report.contains("GET /stream/{chunks}/{ms} for "),
        "{report}"
    );
}

#[tokio::test]
async fn a_taken_port_is_told_in_words() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for example in EXAMPLES {
        let app = refused(example, &taken, &free_addr().to_string()).await;
        assert!(
            app.contains(&format!("cannot listen on {taken}: Address already in use")),
            "{example}: {app}"
        );
        let ops = refused(example, &free_addr().to_string(), &taken).await;
        let words = [
            "the operations endpoint",
            &format!("cannot listen on {taken}: Address already in use"),
            "ops_addr",
        ];
        for part in words {
            assert!(ops.contains(part), "{example}: {ops}");
        }
        for output in [&app, &ops] {
            for debug in ["Custom {", "Os {", "kind: "] {
                assert!(!output.contains(debug), "{example}: {output}");
            }
        }
    }
}

#[tokio::test]
async fn a_bad_address_is_told_in_words() {
    for example in EXAMPLES {
        for bad in [
            "nonsense",
            "127.0.0.1",
            "127.0.0.1:99999",
            "localhost:8080",
            "",
        ] {
            let output = refused(example, &free_addr().to_string(), bad).await;
            assert!(output.contains("ops_addr: "), "{example}: {output}");
            assert!(output.contains(bad), "{example}: {output}");
            assert!(
                output.contains("is not an IP address with a port, such as"),
                "{example}: {output}"
            );
            assert!(!output.contains("panicked"), "{example}: {output}");
        }
        let output = refused(example, "nonsense", &free_addr().to_string()).await;
        assert!(
            output.contains("cannot listen on nonsense: "),
            "{example}: {output}"
        );
    }
}

/// Starts an example that must not start, and returns its output.
async fn refused(example: &str, app: &str, ops: &str) -> String {
    let mut command = Process::example(example);
    command
        .env("APP_ADDR", app)
        .env("GRPC_ADDR", app)
        .env("OPS_ADDR", ops)
        .env("RUST_BACKTRACE", "0");
    let mut process = Process::spawn(command).unwrap();
    let status = process.wait_exit(DEADLINE).await;
    assert_eq!(status.code(), Some(1), "{example}");
    process.output().join("\n")
}

/// Tells it to stop; how long that took.
async fn end(service: &mut Service, signal: &str) -> Duration {
    let began = Instant::now();
    service.process().signal(signal).unwrap();
    let status = service.process().wait_exit(Duration::from_secs(30)).await;
    assert_eq!(status.code(), Some(0), "{signal}");
    began.elapsed()
}

async fn has_line(service: &Service, line: &str) {
    let (_, text) = service.ops_get("/metrics").await;
    assert!(text.lines().any(|has| has == line), "{line} not in\n{text}");
}

async fn pause(until: Instant) {
    assert!(Instant::now() < until, "waited in vain");
    tokio::time::sleep(Duration::from_millis(10)).await;
}

#[tokio::test]
async fn migrate_loses_nothing_and_doubles_nothing() {
    let mut process = Process::spawn(Process::example("migrate")).unwrap();
    let status = process.wait_exit(DEADLINE).await;
    let output = process.output();
    assert!(status.success(), "{output:#?}");
    assert_eq!(
        output.last().map(String::as_str),
        Some("nothing was lost, nothing was doubled")
    );
}
