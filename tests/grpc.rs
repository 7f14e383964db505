//! The gRPC example with a real tonic client: every call is counted with the
//! status that the client got, whether in headers or in trailers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::time::Duration;

use tokio_stream::StreamExt;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tower::ServiceBuilder;
use tower_ops_examples::playground::echo_client::EchoClient;
use tower_ops_examples::playground::{EchoReply, EchoRequest, FailRequest, StreamRequest};
use tower_ops_request_id::{RequestId, RequestIdClientInterceptor, RequestIdClientLayer};
use tower_ops_tests::{Answer, Protocol, Samples, Service};

const CALLS: &str = "rpc_server_call_duration_seconds_count";
const HEADER: &str = "x-request-id";
/// `EchoRequest { message: "hello" }`, framed.
const HELLO: &str = "\0\0\0\0\u{7}\n\u{5}hello";

#[tokio::test]
async fn unary_and_streamed_calls_that_succeed() {
    let service = Service::start("grpc").await;
    let mut client = client(&service).await;
    for n in 0..3 {
        let message = format!("hello {n}");
        let reply = client.unary(echo(&message)).await.unwrap().into_inner();
        assert_eq!(reply.message, message);
    }
    let replies = client.server_stream(stream(10, 1)).await.unwrap();
    let (messages, status) = read(replies.into_inner()).await;
    assert_eq!(messages, vec!["tick"; 10]);
    assert!(status.is_none());
    let none = client.server_stream(stream(0, 0)).await.unwrap();
    assert_eq!(read(none.into_inner()).await.0.len(), 0);

    let samples = service.scrape_idle().await;
    assert_eq!(calls(&samples, "playground.Echo/Unary", "OK"), 3);
    assert_eq!(calls(&samples, "playground.Echo/ServerStream", "OK"), 2);
    let labels = [("outcome", "completed"), ("class", "success")];
    assert_eq!(samples.count("server_requests_total", &labels), 5);
    assert_eq!(samples.count("server_requests_total", &[]), 5);
    // A call is no HTTP request to the metrics.
    assert_eq!(
        samples.count("http_server_request_duration_seconds_count", &[]),
        0
    );
    assert_eq!(samples.count("http_server_active_requests", &[]), 0);
}

#[tokio::test]
async fn every_status_is_counted_from_the_trailers() {
    let service = Service::start("grpc").await;
    let mut client = client(&service).await;
    for code in 1..=16 {
        for messages in [0, 1, 5] {
            let call = client.fail(FailRequest {
                messages,
                code,
                message: "as asked".to_owned(),
            });
            // The head is out before the handler's stream fails.
            let (replies, status) = read(call.await.unwrap().into_inner()).await;
            let status = status.unwrap();
            assert_eq!(status.code(), Code::from_i32(code));
            assert_eq!(status.message(), "as asked");
            assert_eq!(replies.len(), messages as usize);
        }
    }
    let samples = service.scrape_idle().await;
    for (code, name) in NAMES.iter().enumerate().skip(1) {
        let labels = [
            ("rpc_method", "playground.Echo/Fail"),
            ("rpc_response_status_code", name),
        ];
        assert_eq!(samples.count(CALLS, &labels), 3, "{name}");
        // The conventions count only some as faults of the server.
        let faulty = [2, 4, 12, 13, 14, 15].contains(&code);
        let labels = [("error_type", *name)];
        assert_eq!(samples.count(CALLS, &labels), 3 * usize::from(faulty));
    }
    assert_eq!(samples.count(CALLS, &[]), 48);
    for (class, codes) in [
        ("server_error", 5),
        ("timeout", 1),
        ("cancelled", 1),
        ("client_error", 9),
    ] {
        let labels = [("outcome", "completed"), ("class", class)];
        let counted = samples.count("server_requests_total", &labels);
        assert_eq!(counted, 3 * codes, "{class}");
    }
}

#[tokio::test]
async fn a_status_in_the_head_is_counted_as_well() {
    let service = Service::start("grpc").await;
    let mut client = client(&service).await;
    // Refused before there is a stream: the answer is trailers only.
    let refused = client.fail(FailRequest {
        messages: 1,
        code: 99,
        message: String::new(),
    });
    assert_eq!(refused.await.unwrap_err().code(), Code::InvalidArgument);
    let refused = client.server_stream(stream(1_000_001, 0)).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);

    let samples = service.scrape_idle().await;
    for method in ["playground.Echo/Fail", "playground.Echo/ServerStream"] {
        assert_eq!(calls(&samples, method, "INVALID_ARGUMENT"), 1);
    }
    let labels = [("outcome", "completed"), ("class", "client_error")];
    assert_eq!(samples.count("server_requests_total", &labels), 2);
}

#[tokio::test]
async fn methods_that_nobody_has_are_other() {
    let service = Service::start("grpc").await;
    for n in 0..20 {
        for path in [
            format!("/playground.Echo/Made{n}"),
            format!("/made.Up{n}/Unary"),
            format!("/made{n}"),
        ] {
            let answer = post(&service, &path, &[]).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("grpc-status"), "12", "{path}");
        }
    }
    let samples = service.scrape_idle().await;
    assert_eq!(samples.values(CALLS, "rpc_method"), ["_OTHER"].into());
    assert_eq!(calls(&samples, "_OTHER", "UNIMPLEMENTED"), 60);
}

#[tokio::test]
async fn what_is_no_grpc_is_counted_as_http() {
    let service = Service::start("grpc").await;
    for path in ["/", "/playground.Echo/Unary", "/made.Up/Method"] {
        Protocol::Http2
            .ask(service.app(), "GET", path, &[], "")
            .await
            .unwrap();
    }
    let samples = service.scrape_idle().await;
    assert_eq!(samples.count("server_requests_total", &[]), 3);
    let http = samples.count("http_server_request_duration_seconds_count", &[]);
    assert_eq!(http + samples.count(CALLS, &[]), 3);
}

#[tokio::test]
async fn a_stream_that_the_client_drops_is_cancelled() {
    let service = Service::start("grpc").await;
    let mut client = client(&service).await;
    let mut replies = client
        .server_stream(stream(1_000, 20))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(replies.next().await.unwrap().unwrap().message, "tick");
    drop(replies);

    let samples = service.scrape_idle().await;
    let labels = [
        ("rpc_method", "playground.Echo/ServerStream"),
        ("error_type", "cancelled"),
    ];
    assert_eq!(samples.count(CALLS, &labels), 1);
    assert_eq!(
        samples.values(CALLS, "rpc_response_status_code"),
        [].into(),
        "it got none"
    );
    let labels = [("outcome", "cancelled_during_body"), ("class", "cancelled")];
    assert_eq!(samples.count("server_requests_total", &labels), 1);
    // The connection goes on.
    client.unary(echo("still here")).await.unwrap();
}

#[tokio::test]
async fn a_deadline_that_passes_ends_a_stream_with_its_status() {
    let service = Service::start("grpc").await;
    let mut client = client(&service).await;
    let mut request = Request::new(stream(1_000, 20));
    request.set_timeout(Duration::from_millis(150));
    let replies = client.server_stream(request).await.unwrap().into_inner();
    let (_, status) = read(replies).await;
    assert_eq!(status.unwrap().code(), Code::DeadlineExceeded);

    let samples = service.scrape_idle().await;
    let labels = [
        ("rpc_method", "playground.Echo/ServerStream"),
        ("rpc_response_status_code", "DEADLINE_EXCEEDED"),
    ];
    assert_eq!(samples.count(CALLS, &labels), 1);
    assert_eq!(samples.count("server_requests_total", &[]), 1);
}

#[tokio::test]
async fn the_request_id_comes_back_with_every_kind_of_answer() {
    let service = Service::start("grpc").await;
    let mut client = client(&service).await;

    let reply = client.unary(with_id(echo("a"), "call-1")).await.unwrap();
    assert_eq!(reply.metadata().get(HEADER).unwrap(), "call-1");
    let reply = client.server_stream(with_id(stream(1, 0), "call-2")).await;
    assert_eq!(reply.unwrap().metadata().get(HEADER).unwrap(), "call-2");
    let refusal = FailRequest::default();
    let status = client.fail(with_id(refusal, "call-3")).await.unwrap_err();
    assert_eq!(status.metadata().get(HEADER).unwrap(), "call-3");
    let answer = post(&service, "/made.Up/Method", &[(HEADER, "call-4")]).await;
    assert_eq!(answer.header(HEADER), "call-4");

    // None, or an invalid one: a new one.
    let long = "x".repeat(129);
    for ids in [&[][..], &[(HEADER, "two words")], &[(HEADER, &long)]] {
        let answer = post(&service, "/playground.Echo/Unary", ids).await;
        let id = answer.header(HEADER).parse::<RequestId>().unwrap();
        assert_eq!(id.as_str().len(), 36, "{ids:?}");
    }
    let samples = service.scrape_idle().await;
    assert_eq!(samples.count("server_request_ids_replaced_total", &[]), 2);
}

#[tokio::test]
async fn the_current_request_id_goes_out_through_the_layer_and_the_interceptor() {
    let service = Service::start("grpc").await;
    let channel = channel(&service).await;
    let layered = ServiceBuilder::new()
        .layer(RequestIdClientLayer::new())
        .service(channel.clone());
    let mut layered = EchoClient::new(layered);
    let mut intercepted = EchoClient::with_interceptor(channel, RequestIdClientInterceptor::new());

    let current: RequestId = "order-7".parse().unwrap();
    current
        .scope(async {
            for own in [None, Some("call-1")] {
                let request = || match own {
                    Some(id) => with_id(echo("a"), id),
                    None => Request::new(echo("a")),
                };
                let sent = own.unwrap_or("order-7");
                let reply = layered.unary(request()).await.unwrap();
                assert_eq!(reply.metadata().get(HEADER).unwrap(), sent);
                let reply = intercepted.unary(request()).await.unwrap();
                assert_eq!(reply.metadata().get(HEADER).unwrap(), sent);
            }
        })
        .await;

    // Outside of any request there is none to send.
    let reply = layered.unary(echo("a")).await.unwrap();
    assert_ne!(reply.metadata().get(HEADER).unwrap(), "order-7");
    let reply = intercepted.unary(echo("a")).await.unwrap();
    assert_ne!(reply.metadata().get(HEADER).unwrap(), "order-7");
}

/// Every code's name in the metrics, at its number.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

async fn channel(service: &Service) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", service.app())).unwrap();
    endpoint.connect().await.unwrap()
}

async fn client(service: &Service) -> EchoClient<Channel> {
    EchoClient::new(channel(service).await)
}

/// A call by hand, for what the generated client cannot ask.
async fn post(service: &Service, path: &str, headers: &[(&str, &str)]) -> Answer {
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    let headers = [&grpc, headers].concat();
    Protocol::Http2
        .ask(service.app(), "POST", path, &headers, HELLO)
        .await
        .unwrap()
}

fn echo(message: &str) -> EchoRequest {
    EchoRequest {
        message: message.to_owned(),
    }
}

fn stream(count: u32, delay_ms: u32) -> StreamRequest {
    StreamRequest {
        message: "tick".to_owned(),
        count,
        delay_ms,
    }
}

fn with_id<T>(message: T, id: &'static str) -> Request<T> {
    let mut request = Request::new(message);
    let id = MetadataValue::from_static(id);
    request.metadata_mut().insert(HEADER, id);
    request
}

/// The messages, and the status unless it is OK.
async fn read(mut replies: tonic::Streaming<EchoReply>) -> (Vec<String>, Option<Status>) {
    let mut messages = Vec::new();
    while let Some(reply) = replies.next().await {
        match reply {
            Ok(reply) => messages.push(reply.message),
            Err(status) => return (messages, Some(status)),
        }
    }
    (messages, None)
}

fn calls(samples: &Samples, method: &str, status: &str) -> usize {
    let labels = [
        ("rpc_system_name", "grpc"),
        ("rpc_method", method),
        ("rpc_response_status_code", status),
    ];
    samples.count(CALLS, &labels)
}
