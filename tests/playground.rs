//! Every route of the playground works as documented, and is counted under its template.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::future::ready;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Request};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tower_ops_testing::{Http2Client, RawHttp1};
use tower_ops_tests::{Protocol, Samples, Service};

const DURATION: &str = "http_server_request_duration_seconds_count";

#[tokio::test]
async fn short_answers() {
    let service = Service::start("playground").await;
    for protocol in Protocol::ALL {
        for (path, status, text) in [
            ("/", 200, "tower-ops playground\n"),
            ("/users/42", 200, r#"{"id":"42"}"#),
            ("/users/a%20b", 200, r#"{"id":"a b"}"#),
            ("/nested/users/7", 200, r#"{"id":"7"}"#),
            ("/service/users/7", 200, r#"{"id":"7"}"#),
            ("/slow/0", 200, "waited 0 ms\n"),
            ("/nowhere", 404, ""),
            ("/nested/nowhere", 404, ""),
            ("/service/nowhere", 404, ""),
            ("/echo", 405, ""),
        ] {
            let answer = service.ask(protocol, path, &[]).await;
            assert_eq!((answer.status, answer.text()), (status, text), "{path}");
        }
        let answer = service.ask(protocol, "/headers", &[("x-mine", "1")]).await;
        let headers: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(headers["x-mine"], "1");
    }
}

#[tokio::test]
async fn slow_waits() {
    let service = Service::start("playground").await;
    let began = Instant::now();
    let answer = service.ask(Protocol::Http1, "/slow/100", &[]).await;
    assert_eq!(answer.text(), "waited 100 ms\n");
    assert!(began.elapsed() >= Duration::from_millis(100));
    let samples = service.scrape_idle().await;
    let seconds = samples.sum("http_server_request_duration_seconds_sum", &[]);
    assert!((0.1..10.0).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn status_answers_with_every_final_status() {
    let service = Service::start("playground").await;
    let mut client = RawHttp1::connect(service.app()).await.unwrap();
    for code in 200..=999 {
        let path = format!("/status/{code}");
        client.send_request("GET", &path, &[], "").await.unwrap();
        let head = client.read_head().await.unwrap();
        assert_eq!(head.status, code);
        let body = client.read_body(&head).await.unwrap();
        assert_eq!(
            body.data.is_empty(),
            [204, 205, 304].contains(&code),
            "{code}"
        );
    }
    for code in [
        "0", "99", "100", "101", "199", "1000", "20", "abc", "-200", "2OO",
    ] {
        let answer = service
            .ask(Protocol::Http1, &format!("/status/{code}"), &[])
            .await;
        assert_eq!(answer.status, 400, "{code}");
        assert_eq!(
            answer.text(),
            format!("{code:?} is no final status: ask for 200 to 999\n")
        );
    }
}

#[tokio::test]
async fn bodies_are_read_after_the_answer_and_late() {
    const BODY: &str = include_str!("../CHANGELOG.md");
    let service = Service::start("playground").await;
    let mut accepted = 0;
    for protocol in Protocol::ALL {
        let answer = protocol.ask(service.app(), "POST", "/think/50", &[], BODY);
        let answer = answer.await.unwrap();
        assert_eq!(answer.text(), format!("{}\n", BODY.len()), "{protocol:?}");
        let answer = protocol.ask(service.app(), "POST", "/think/0", &[], "");
        assert_eq!(answer.await.unwrap().text(), "0\n", "{protocol:?}");
        // Small enough to be sent whole, so that neither protocol cuts it at the answer.
        let answer = protocol.ask(service.app(), "POST", "/accept", &[], "twelve bytes");
        assert_eq!(answer.await.unwrap().status, 202, "{protocol:?}");
        accepted += 12;
        let began = Instant::now();
        while service.get("/accepted", &[]).await.2 != format!("{accepted}\n") {
            assert!(began.elapsed() < Duration::from_secs(10), "{protocol:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn short_and_final_do_not_keep_their_word() {
    let service = Service::start("playground").await;
    for protocol in Protocol::ALL {
        let exact = service.ask(protocol, "/short/250/250", &[]).await;
        assert_eq!((exact.status, exact.body.len()), (200, 250), "{protocol:?}");
        let cut = protocol.ask(service.app(), "GET", "/short/1000/250", &[], "");
        cut.await.unwrap_err();
        for code in [200, 404, 999] {
            let answer = service.ask(protocol, &format!("/final/{code}"), &[]).await;
            assert_eq!((answer.status, answer.text()), (code, ""), "{protocol:?}");
        }
        for code in ["99", "1000", "abc"] {
            let answer = service.ask(protocol, &format!("/final/{code}"), &[]).await;
            assert_eq!(answer.status, 400, "{protocol:?} {code}");
        }
    }
    // hyper's answer to a 1xx as the last word.
    let answer = service.ask(Protocol::Http1, "/final/103", &[]).await;
    assert_eq!(answer.status, 500);
    service.scrape_idle().await;
}

#[tokio::test]
async fn settings_come_from_the_environment() {
    let socket = std::env::temp_dir().join(format!("playground-{}.sock", std::process::id()));
    let environment = [
        ("UNIX_PATH", socket.to_str().unwrap()),
        ("OPS_ON_APP", "/ops"),
        ("TIMEOUT_MS", "100"),
        ("CATCH_PANIC", "1"),
        ("IDLE_MS", "60000"),
        ("MAX_AGE_MS", "60000"),
        ("STALL_MS", "5000"),
    ];
    let service = Service::start_with("playground", &environment).await;
    for protocol in Protocol::ALL {
        for (path, status) in [
            ("/slow/60000", 504),
            ("/panic", 500),
            ("/ops/health", 200),
            ("/ops/nowhere", 404),
            ("/nowhere", 404),
        ] {
            let answer = service.ask(protocol, path, &[]).await;
            assert_eq!(answer.status, status, "{protocol:?} {path}");
        }
    }
    let stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
    let mut client = tokio::io::BufReader::new(stream);
    let request = "GET /users/1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("{\"id\":\"1\"}"), "{text}");
    let _ = std::fs::remove_file(&socket);
}

#[tokio::test]
async fn grpc_web_is_spoken_on_the_routes_of_grpc() {
    const HELLO: &str = "\0\0\0\0\u{7}\n\u{5}hello";
    let service = Service::start("playground").await;
    for protocol in Protocol::ALL {
        let headers = [("content-type", "application/grpc-web+proto")];
        let answer = protocol.ask(
            service.app(),
            "POST",
            "/playground.Echo/Unary",
            &headers,
            HELLO,
        );
        let body = answer.await.unwrap().body;
        let trailers = body.strip_prefix(HELLO.as_bytes()).unwrap();
        assert!(trailers.starts_with(b"\x80"), "{protocol:?}: {trailers:?}");
        assert!(String::from_utf8_lossy(trailers).contains("grpc-status:0"));
    }
}

#[tokio::test]
async fn what_may_be_asked_for_is_bounded() {
    let service = Service::start("playground").await;
    for path in [
        "/slow/3600001",
        "/slow/-1",
        "/slow/x",
        "/slow/99999999999999999999999",
        "/stream/1000001/0",
        "/stream/1/3600001",
        "/stream/x/0",
        "/short/0/100000001",
        "/short/x/0",
        "/error-body/1000001",
        "/error-body/x",
        "/call?to=nowhere",
        "/call?to=http://example.org/",
    ] {
        let answer = service.ask(Protocol::Http1, path, &[]).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(!answer.text().trim().is_empty(), "{path}: has no reason");
    }
}

#[tokio::test]
async fn stream_sends_chunks_apart() {
    let service = Service::start("playground").await;
    for protocol in Protocol::ALL {
        let began = Instant::now();
        let answer = service.ask(protocol, "/stream/3/50", &[]).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body.len(), 300);
        assert!(began.elapsed() >= Duration::from_millis(100));
        let empty = service.ask(protocol, "/stream/0/0", &[]).await;
        assert_eq!((empty.status, empty.body.len()), (200, 0));
    }
    let samples = service.scrape_idle().await;
    let route = [("http_route", "/stream/{chunks}/{ms}")];
    assert_eq!(samples.count(DURATION, &route), 4);
    assert_eq!(
        samples.count("http_server_response_body_size_bytes_sum", &route),
        600
    );
}

#[tokio::test]
async fn echo_streams_the_body_back() {
    let service = Service::start("playground").await;
    for protocol in Protocol::ALL {
        let headers = [("content-type", "text/x-mine")];
        let answer = protocol.ask(service.app(), "POST", "/echo", &headers, "some text");
        let answer = answer.await.unwrap();
        assert_eq!((answer.status, answer.text()), (200, "some text"));
        assert_eq!(answer.header("content-type"), "text/x-mine");
        let empty = protocol.ask(service.app(), "POST", "/echo", &[], "").await;
        assert_eq!(empty.unwrap().body, "");
    }
    let samples = service.scrape_idle().await;
    let sizes = |name: &str| samples.count(name, &[("http_route", "/echo")]);
    assert_eq!(sizes("http_server_request_body_size_bytes_sum"), 18);
    assert_eq!(sizes("http_server_response_body_size_bytes_sum"), 18);
}

#[tokio::test]
async fn echo_answers_while_the_request_is_still_sent_and_with_its_trailers() {
    let service = Service::start("playground").await;
    let mut client = RawHttp1::connect(service.app()).await.unwrap();
    client
        .send(
            "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\
             te: trailers\r\ntrailer: x-sum\r\n\r\n5\r\nfirst\r\n",
        )
        .await
        .unwrap();
    let head = client.read_head().await.unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(head.headers["transfer-encoding"], "chunked");
    let first = client.read_some().await.unwrap();
    assert_eq!(first, "5\r\nfirst\r\n");
    client
        .send("6\r\nsecond\r\n0\r\nx-sum: 11\r\n\r\n")
        .await
        .unwrap();
    let rest = client.read_body(&head).await.unwrap();
    assert_eq!(rest.data, "second");
    assert_eq!(rest.trailers["x-sum"], "11");

    // The connection goes on.
    client.send_request("GET", "/", &[], "").await.unwrap();
    assert_eq!(client.read_head().await.unwrap().status, 200);

    let client = Http2Client::connect(service.app()).await.unwrap();
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-sum"), "4".parse().unwrap())]);
    let body = Full::from("body").with_trailers(ready(Some(Ok(trailers))));
    let response = client.request(Request::post("/echo").body(body).unwrap());
    let echoed = response.await.unwrap().collect().await.unwrap();
    assert_eq!(echoed.trailers().unwrap()["x-sum"], "4");
    assert_eq!(echoed.to_bytes(), "body");

    let samples = service.scrape_idle().await;
    let route = [("http_route", "/echo")];
    assert_eq!(
        samples.count("http_server_request_body_size_bytes_sum", &route),
        15
    );
    assert_eq!(samples.ended("completed"), 3);
}

#[tokio::test]
async fn call_reaches_every_route_and_says_so_if_it_does_not() {
    let service = Service::start("playground").await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-00");
    let headers = [("x-request-id", "call-1"), ("traceparent", &*parent)];
    for to in [
        "/",
        "/status/503",
        "/nowhere",
        "/service/users/1",
        "/stream/3/0",
        "/stream/1000000/0",
        "/sse",
        "/error-body/1",
        "/panic-body",
        "/ws",
        "/id?a=b",
    ] {
        let answer = service
            .ask(Protocol::Http1, &format!("/call?to={to}"), &headers)
            .await;
        assert_eq!(answer.status, 200, "{to}");
        // A child of the exchange that is being served, in the caller's trace.
        let begin = format!(r#"{{"host":"{}","traceparent":"00-{trace}-"#, service.app());
        let text = answer.text();
        let rest = text
            .strip_prefix(&begin)
            .unwrap_or_else(|| panic!("{text}"));
        let (span, rest) = rest.split_at(16);
        assert_ne!(span, "00f067aa0ba902b7");
        assert_eq!(rest, r#"-00","x-request-id":"call-1"}"#);
    }
    let answer = service.ask(Protocol::Http1, "/call", &[]).await;
    assert_eq!(answer.status, 200, "calls /headers by itself");
    let answer = service
        .ask(Protocol::Http1, "/call?to=/panic", &headers)
        .await;
    assert_eq!(answer.status, 502);
    assert!(answer.text().starts_with(r#"{"error":"/panic: "#));
    service.scrape_idle().await;
}

#[tokio::test]
async fn routes_are_templates_also_of_what_is_nested() {
    let service = Service::start("playground").await;
    for protocol in Protocol::ALL {
        for n in 0..3 {
            for path in ["/users", "/nested/users", "/service/users", "/no/users"] {
                service.ask(protocol, &format!("{path}/{n}"), &[]).await;
            }
        }
        let samples = service.scrape_idle().await;
        for route in [
            "/users/{id}",
            "/nested/users/{id}",
            "/service/users/{id}",
            "{unmatched}",
        ] {
            let labels = [
                ("http_route", route),
                ("network_protocol_version", protocol.version()),
            ];
            assert_eq!(samples.count(DURATION, &labels), 3, "{protocol:?} {route}");
        }
        assert_eq!(samples.values(DURATION, "http_route").len(), 4);
    }
}

#[tokio::test]
async fn an_unknown_method_is_other() {
    let service = Service::start("playground").await;
    for protocol in Protocol::ALL {
        for method in ["BREW", "get", "GETT", "PROPFIND"] {
            let answer = protocol.ask(service.app(), method, "/", &[], "").await;
            assert_eq!(answer.unwrap().status, 405);
        }
    }
    let samples = service.scrape_idle().await;
    assert_eq!(
        samples.values(DURATION, "http_request_method"),
        ["_OTHER"].into()
    );
    let labels = [
        ("http_route", "/"),
        ("http_request_method", "_OTHER"),
        ("http_response_status_code", "405"),
    ];
    assert_eq!(samples.count(DURATION, &labels), 8);
}

#[tokio::test]
async fn made_up_paths_and_methods_add_one_label_value_each() {
    const REQUESTS: usize = 2_000;
    let service = Service::start("playground").await;
    let mut client = RawHttp1::connect(service.app()).await.unwrap();
    for n in 0..REQUESTS {
        let (method, path) = (format!("M{n}"), format!("/made/up/{n}?q={n}"));
        client.send_request(&method, &path, &[], "").await.unwrap();
        let head = client.read_head().await.unwrap();
        assert_eq!(head.status, 404);
        client.read_body(&head).await.unwrap();
    }
    let (status, text) = service.ops_get("/metrics").await;
    assert_eq!(status, 200);
    let samples = Samples::parse(&text);
    for (label, value) in [
        ("http_route", "{unmatched}"),
        ("http_request_method", "_OTHER"),
    ] {
        assert_eq!(samples.values(DURATION, label), [value].into());
    }
    let labels = [
        ("http_route", "{unmatched}"),
        ("http_request_method", "_OTHER"),
        ("http_response_status_code", "404"),
    ];
    assert_eq!(samples.count(DURATION, &labels), REQUESTS);
    assert_eq!(samples.count("tower_ops_metrics_overflow_total", &[]), 0);
    assert!(!text.contains("/made/up") && !text.contains("M1"));
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let service = Service::start("playground").await;
    for method in ["GET", "HEAD"] {
        let answer = Protocol::Http1.ask(service.ops(), method, "/metrics", &[], "");
        let answer = answer.await.unwrap();
        assert_eq!(answer.status, 200);
        let content_type = answer.header("content-type");
        assert_eq!(
            content_type
                .split(';')
                .take(2)
                .collect::<Vec<_>>()
                .join(";"),
            "text/plain; version=0.0.4",
        );
    }
    let (status, _) = service.ops_get("/metrics/nowhere").await;
    assert_eq!(status, 404);
}
