//! What the examples export, log and believe, as processes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::{Router, routing::post};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::net::TcpListener;
use tower_ops_testing::RawHttp1;
use tower_ops_tests::Service;

const DEADLINE: Duration = Duration::from_secs(30);

/// A collector that takes spans over HTTP, and their names.
async fn collector() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let names = Arc::<Mutex<Vec<String>>>::default();
    let taken = Arc::clone(&names);
    let take = async move |body: Bytes| {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let resources = request.resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        let spans = scopes.flat_map(|scope| scope.spans);
        taken.lock().unwrap().extend(spans.map(|span| span.name));
        [("content-type", "application/x-protobuf")]
    };
    let app = Router::new().route("/v1/traces", post(take));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (addr, names)
}

#[tokio::test]
async fn playground_exports_what_is_recorded_by_its_end() {
    let (collector, names) = collector().await;
    let endpoint = format!("http://{collector}");
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("PRE_DRAIN_MS", "0"),
    ];
    let mut service = Service::start_with("playground", &environment).await;
    for path in ["/users/7", "/status/503", "/call?to=/users/8"] {
        service.get(path, &[]).await;
    }
    service.scrape_idle().await;
    service.process().signal("TERM").unwrap();
    let status = service.process().wait_exit(DEADLINE).await;
    assert_eq!(status.code(), Some(0));
    let mut names = names.lock().unwrap().clone();
    names.sort();
    let expected = [
        "GET",
        "GET /call",
        "GET /users/{id}",
        "GET /users/{id}",
        "find_user",
        "find_user",
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn playground_begins_a_trace_of_its_own_where_it_is_public() {
    let caller = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{caller}-00f067aa0ba902b7-01");
    for (is_public, goes_on) in [("1", false), ("0", true)] {
        let service = Service::start_with("playground", &[("PUBLIC", is_public)]).await;
        let (_, _, text) = service.get("/call", &[("traceparent", &parent)]).await;
        assert!(text.contains("traceparent"), "{text}");
        assert_eq!(text.contains(caller), goes_on, "{text}");
    }
}

#[tokio::test]
async fn playground_shows_more_of_a_request_once_it_is_told_to() {
    let token = "demo-demo-demo-demo";
    let environment = [("OPERATIONS_TOKEN", token), ("LOG_FORMAT", "json")];
    let mut service = Service::start_with("playground", &environment).await;
    let debug = |service: &mut Service, id: &str| {
        let output = service.process().output();
        let id = format!(r#""request_id":"{id}""#);
        let lines = output.iter().filter(|line| line.contains(&id));
        lines
            .filter(|line| line.contains("asked for a user"))
            .count()
    };
    service.get("/users/1", &[("x-request-id", "before")]).await;
    let mut client = RawHttp1::connect(service.ops()).await.unwrap();
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", &*authorization)];
    let put = client.send_request("PUT", "/loglevel?for=1h", &headers, "debug");
    put.await.unwrap();
    assert_eq!(client.read_head().await.unwrap().status, 200);
    service.get("/users/2", &[("x-request-id", "after")]).await;
    let written = r#""request_id":"after""#;
    let access = format!(r#""target":"tower_ops::access","message":"request",{written}"#);
    service.process().wait_output(&access, DEADLINE).await;
    assert_eq!(debug(&mut service, "before"), 0);
    assert_eq!(debug(&mut service, "after"), 1);
    let output = service.process().output();
    for line in &output {
        let is_object = line.starts_with(r#"{"timestamp":""#) && line.ends_with('}');
        assert!(is_object, "{line}");
    }
}
