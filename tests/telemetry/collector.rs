//! The collector: one for all services, in this process.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use tokio::time::{Instant, sleep};
use tower_ops_testing::Server;

/// A span, and `service.name` of whoever made it.
#[derive(Clone, Debug)]
pub(crate) struct Exported {
    pub(crate) service: String,
    span: Span,
}

impl Exported {
    pub(crate) fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub(crate) fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub(crate) fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// Which kind of span it is of which service, as in `orders SERVER GET /orders/{id}`.
    pub(crate) fn title(&self) -> String {
        let kind = self.span.kind().as_str_name();
        let kind = kind.trim_start_matches("SPAN_KIND_");
        format!("{} {kind} {}", self.service, self.span.name)
    }

    pub(crate) fn is_internal(&self) -> bool {
        self.span.kind() == SpanKind::Internal
    }

    pub(crate) fn is_error(&self) -> bool {
        let status = self.span.status.as_ref();
        status.is_some_and(|status| status.code() == StatusCode::Error)
    }

    pub(crate) fn is_ok(&self) -> bool {
        let status = self.span.status.as_ref();
        status.is_some_and(|status| status.code() == StatusCode::Ok)
    }

    /// An attribute as text; empty if there is none.
    pub(crate) fn get(&self, key: &str) -> String {
        get(&self.span.attributes, key)
    }

    pub(crate) fn state(&self) -> &str {
        &self.span.trace_state
    }

    /// Whether the parent is of another process, if that is known.
    pub(crate) fn is_parent_remote(&self) -> Option<bool> {
        let flags = self.span.flags;
        (flags & 0x100 != 0).then_some(flags & 0x200 != 0)
    }
}

/// Takes spans by OTLP over HTTP.
pub(crate) struct Collector {
    server: Server,
    spans: Arc<Mutex<Vec<Exported>>>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let spans = Arc::<Mutex<Vec<_>>>::default();
        let taken = Arc::clone(&spans);
        let server = Server::spawn(tower::service_fn(move |request| {
            take(request, Arc::clone(&taken))
        }));
        let server = server.await;
        Self { server, spans }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url("")
    }

    /// The spans of a trace, from the outermost inwards, once there are so many.
    pub(crate) async fn wait_trace(&self, trace_id: &str, count: usize) -> Vec<Exported> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let spans = self.trace(trace_id);
            if spans.len() >= count {
                return spans;
            }
            let titles: Vec<_> = spans.iter().map(Exported::title).collect();
            assert!(Instant::now() < until, "only {titles:?} of {count} spans");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The spans of a trace that have come so far, by the time at which they began.
    pub(crate) fn trace(&self, trace_id: &str) -> Vec<Exported> {
        let spans = self.spans.lock().unwrap();
        let of_trace = spans.iter().filter(|span| span.trace_id() == trace_id);
        let mut spans: Vec<_> = of_trace.cloned().collect();
        spans.sort_by_key(|span| span.span.start_time_unix_nano);
        spans
    }
}

async fn take(
    request: Request<Incoming>,
    spans: Arc<Mutex<Vec<Exported>>>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    assert_eq!(request.uri().path(), "/v1/traces");
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let message = ExportTraceServiceRequest::decode(body).unwrap();
    for of_resource in message.resource_spans {
        let resource = of_resource.resource.unwrap();
        let service = get(&resource.attributes, "service.name");
        let all = of_resource.scope_spans.into_iter().flat_map(|it| it.spans);
        let all = all.map(|span| Exported {
            service: service.clone(),
            span,
        });
        spans.lock().unwrap().extend(all);
    }
    Ok(Response::new(Empty::new()))
}

fn get(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|found| found.value.as_ref()?.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
