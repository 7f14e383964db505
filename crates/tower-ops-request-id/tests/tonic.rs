//! The tonic interceptors, alone and among the layers.

#![cfg(feature = "tonic")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::future::ready;

use http::{HeaderName, HeaderValue};
use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::{InterceptedService, Interceptor};
use tower::ServiceExt;
use tower_layer::Layer;
use tower_ops_request_id::{
    Generator, Inbound, RequestId, RequestIdClientInterceptor, RequestIdClientLayer,
    RequestIdLayer, RequestIdServerInterceptor, RequestIds,
};
use tower_ops_testing::Readied;

const CUSTOM: HeaderName = HeaderName::from_static("x-correlation-id");

fn id(text: &str) -> RequestId {
    text.parse().unwrap()
}

fn call(headers: &[(&'static str, &str)]) -> tonic::Request<()> {
    let mut call = tonic::Request::new(());
    for (name, value) in headers {
        call.metadata_mut().append(*name, value.parse().unwrap());
    }
    call
}

/// The metadata's values under a name.
fn values<'a>(call: &'a tonic::Request<()>, name: &str) -> Vec<&'a str> {
    let values = call.metadata().get_all(name).iter();
    values.map(|value| value.to_str().unwrap()).collect()
}

/// Passes a call, and checks that its extension and its metadata agree.
fn served(ids: RequestIds, call: tonic::Request<()>) -> (String, tonic::Request<()>) {
    let call = RequestIdServerInterceptor::new(ids).call(call).unwrap();
    let id = call.extensions().get::<RequestId>().unwrap().to_string();
    assert_eq!(values(&call, "x-request-id"), [&*id]);
    (id, call)
}

#[test]
fn the_server_interceptor_takes_a_valid_id_and_replaces_others() {
    let ids = RequestIds::new().with_generator(Generator::from_fn(|| id("new")));
    for (sent, expected) in [
        (&[("x-request-id", "abc")][..], "abc"),
        (&[], "new"),
        (&[("x-request-id", "a b")], "new"),
        (&[("x-request-id", "a"), ("x-request-id", "b")], "new"),
    ] {
        assert_eq!(served(ids.clone(), call(sent)).0, expected, "{sent:?}");
    }
    assert_eq!(ids.invalid_count(), 2);
}

#[test]
fn the_server_interceptor_asks_the_policy() {
    let new = Generator::from_fn(|| id("new"));
    let ids = |inbound| {
        let ids = RequestIds::new().with_generator(new.clone());
        ids.with_inbound(inbound)
    };
    let sent = || call(&[("x-request-id", "abc"), ("x-key", "k")]);
    assert_eq!(served(ids(Inbound::replace()), sent()).0, "new");

    #[derive(Clone)]
    struct Trusted;
    let by_peer = || Inbound::accept_if(|head| head.extensions().get::<Trusted>().is_some());
    assert_eq!(served(ids(by_peer()), sent()).0, "new");
    let mut trusted = sent();
    trusted.extensions_mut().insert(Trusted);
    let (taken, call) = served(ids(by_peer()), trusted);
    assert_eq!(taken, "abc");
    assert!(call.extensions().get::<Trusted>().is_some(), "kept");

    let by_key = Inbound::accept_if(|head| head.headers()["x-key"] == "k");
    assert_eq!(served(ids(by_key), sent()).0, "abc");
}

#[test]
fn the_server_interceptor_uses_another_header_and_the_traceparent_if_told() {
    let ids = RequestIds::new()
        .with_header(CUSTOM)
        .with_traceparent_fallback();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
    let call = call(&[("traceparent", &traceparent), ("x-request-id", "client's")]);
    let call = RequestIdServerInterceptor::new(ids).call(call).unwrap();
    assert_eq!(values(&call, "x-correlation-id"), [trace]);
    assert_eq!(values(&call, "x-request-id"), ["client's"]);
}

fn with_other_metadata() -> tonic::Request<()> {
    let mut call = call(&[("x-other", "one"), ("x-other", "two")]);
    let bytes = MetadataValue::from_bytes(&[0, 255, 10]);
    call.metadata_mut().insert_bin("x-blob-bin", bytes);
    call
}

fn assert_other_metadata(call: &tonic::Request<()>) {
    assert_eq!(values(call, "x-other"), ["one", "two"]);
    let blob = call.metadata().get_bin("x-blob-bin").unwrap();
    assert_eq!(blob.to_bytes().unwrap().as_ref(), [0, 255, 10]);
}

#[test]
fn the_server_interceptor_leaves_other_metadata_untouched() {
    let (_, call) = served(RequestIds::new(), with_other_metadata());
    assert_other_metadata(&call);
    assert_eq!(call.metadata().len(), 4);
}

#[tokio::test]
async fn the_client_interceptor_sends_the_current_id() {
    let sent = id("order-7").scope(async {
        let mut interceptor = RequestIdClientInterceptor::default();
        interceptor.call(with_other_metadata()).unwrap()
    });
    let sent = sent.await;
    assert_eq!(values(&sent, "x-request-id"), ["order-7"]);
    assert_other_metadata(&sent);
    assert_eq!(sent.metadata().len(), 4);
}

#[tokio::test]
async fn the_client_interceptor_keeps_an_id_that_is_there() {
    let sent = id("order-7").scope(async {
        let mut interceptor = RequestIdClientInterceptor::new();
        let mut call = call(&[("x-request-id", "own")]);
        call.extensions_mut().insert("kept");
        interceptor.call(call).unwrap()
    });
    let sent = sent.await;
    assert_eq!(values(&sent, "x-request-id"), ["own"]);
    assert_eq!(sent.extensions().get(), Some(&"kept"));
}

#[tokio::test]
async fn the_client_interceptor_sends_other_metadata_if_told() {
    let sent = id("order-7").scope(async {
        let mut interceptor = RequestIdClientInterceptor::new().with_header(CUSTOM);
        interceptor.call(call(&[])).unwrap()
    });
    let sent = sent.await;
    assert_eq!(values(&sent, "x-correlation-id"), ["order-7"]);
    assert_eq!(sent.metadata().len(), 1);
}

#[test]
fn the_client_interceptor_sends_nothing_outside_of_a_request() {
    let mut interceptor = RequestIdClientInterceptor::new();
    let sent = interceptor.call(with_other_metadata()).unwrap();
    assert!(values(&sent, "x-request-id").is_empty());
    assert_other_metadata(&sent);
}

#[tokio::test]
async fn behind_the_layer_the_server_interceptor_finds_the_layers_id() {
    let handler = Readied::from_fn(|request: http::Request<Body>| {
        let seen = [
            RequestId::current().unwrap().into(),
            HeaderValue::from(request.extensions().get::<RequestId>().unwrap().clone()),
            request.headers()["x-request-id"].clone(),
        ];
        let mut response = http::Response::new(Body::empty());
        response.extensions_mut().insert(seen);
        ready(Ok::<_, Infallible>(response))
    });
    let ids = RequestIds::new().with_inbound(Inbound::replace());
    let intercepted = InterceptedService::new(handler, RequestIdServerInterceptor::new(ids));
    let service = RequestIdLayer::new().layer(intercepted);
    let request = http::Request::post("/playground.Echo/Unary")
        .header("content-type", "application/grpc")
        .header("x-request-id", "abc")
        .body(Body::empty())
        .unwrap();
    let response = service.oneshot(request).await.unwrap();
    let seen = response.extensions().get::<[HeaderValue; 3]>().unwrap();
    assert_eq!(seen, &["abc"; 3]);
    assert_eq!(response.headers()["x-request-id"], "abc");
}

#[tokio::test]
async fn the_client_layer_stands_in_front_of_a_channel() {
    // A `Channel` is a service of exactly these types.
    let channel = Readied::from_fn(|request: http::Request<Body>| {
        let mut response = http::Response::new(Body::empty());
        *response.headers_mut() = request.headers().clone();
        ready(Ok::<_, tonic::Status>(response))
    });
    let client = RequestIdClientLayer::new().layer(channel.pending_readiness(1));
    let request = http::Request::new(Body::empty());
    let response = id("order-7").scope(client.oneshot(request)).await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "order-7");
}
