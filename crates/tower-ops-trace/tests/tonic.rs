//! tonic channels: with the layer around them, and with the interceptor.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts the tests themselves, not their helpers"
)]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;
use tower::ServiceExt;
use tower_layer::Layer;
use tower_ops_observe::ObserveLayer;
use tower_ops_request_id::RequestIds;
use tower_ops_testing::{Readied, ScriptedBody, Server};
use tower_ops_trace::{ClientSpans, Spans, TraceContext, TraceInterceptor, TraceLayer};

#[path = "support/recorder.rs"]
mod recorder;
use recorder::Recorder;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Fails every call in its trailers, and keeps the headers.
async fn failing() -> (Server, Channel, Arc<Mutex<HeaderMap>>) {
    let headers = Arc::new(Mutex::new(HeaderMap::new()));
    let sink = headers.clone();
    let callee = Readied::from_fn(move |request: Request<Incoming>| {
        *sink.lock().unwrap() = request.headers().clone();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("14"));
        let response = Response::builder().header("content-type", "application/grpc");
        let body = ScriptedBody::new()
            .data([0_u8; 5].to_vec())
            .trailers(trailers);
        async { Ok::<_, Infallible>(response.body(body).unwrap()) }
    });
    let server = Server::spawn(TraceLayer::new().layer(callee)).await;
    let channel = Channel::from_shared(server.url("")).unwrap();
    (server, channel.connect_lazy(), headers)
}

fn incoming() -> Request<()> {
    let request = Request::get("/").header("x-request-id", "order-7");
    request.header("traceparent", SAMPLED).body(()).unwrap()
}

/// Calls from a handler.
macro_rules! call_within {
    ($channel:expr) => {{
        let channel = $channel;
        let layer = ObserveLayer::new((RequestIds::new(), Spans::new()));
        let service = layer.layer(Readied::from_fn(move |_: Request<()>| {
            let mut grpc = Grpc::new(channel.clone());
            async move {
                grpc.ready().await.unwrap();
                let path = PathAndQuery::from_static("/pkg.Service/Method");
                let codec = ProstCodec::<(), ()>::default();
                let answer = grpc.unary(tonic::Request::new(()), path, codec).await;
                assert_eq!(answer.unwrap_err().code(), tonic::Code::Unavailable);
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        }));
        let Ok(_) = service.oneshot(incoming()).await;
    }};
}

#[tokio::test]
async fn a_channel_with_the_layer_has_spans() {
    let (recorder, _guard) = Recorder::start();
    let (server, channel, headers) = failing().await;
    let authority = server.addr().to_string().parse().unwrap();
    let layer = ClientSpans::new().with_server(authority).into_layer();
    call_within!(layer.layer(channel));

    let [outgoing] = <[_; 1]>::try_from(recorder.named("outgoing_request"))
        .ok()
        .unwrap();
    for (name, value) in [
        ("rpc.system.name", "grpc"),
        ("rpc.method", "pkg.Service/Method"),
        ("rpc.response.status_code", "UNAVAILABLE"),
        ("error.type", "UNAVAILABLE"),
        ("server.address", "127.0.0.1"),
        ("trace_id", TRACE),
    ] {
        assert_eq!(outgoing.get(name), Some(value), "{name}");
    }
    assert!(outgoing.closed);
    let headers = headers.lock().unwrap();
    let ids = TraceContext::extract(&headers).unwrap().ids();
    assert_eq!(outgoing.get("span_id"), Some(ids.span_id_hex().as_str()));
    assert_eq!(headers["x-request-id"], "order-7");
}

#[tokio::test]
async fn a_channel_with_the_interceptor_sends_the_trace_on() {
    let (recorder, _guard) = Recorder::start();
    let (_server, channel, headers) = failing().await;
    let interceptor = TraceInterceptor::new();
    call_within!(tonic::service::interceptor::InterceptedService::new(
        channel,
        interceptor
    ));

    let headers = headers.lock().unwrap();
    let ids = TraceContext::extract(&headers).unwrap().ids();
    let around = &recorder.requests()[0];
    assert_eq!(around.get("trace_id"), Some(TRACE));
    assert_eq!(around.get("span_id"), Some(ids.span_id_hex().as_str()));
    assert_eq!(headers["x-request-id"], "order-7");
}

#[test]
fn outside_of_any_exchange_the_interceptor_sends_nothing() {
    use tonic::service::Interceptor;
    let call = TraceInterceptor::new().call(tonic::Request::new(()));
    assert!(call.unwrap().metadata().is_empty());
}
