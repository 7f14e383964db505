//! What arrives at a collector, and what becomes of spans where none does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::logs::{LogRecord, Logger, LoggerProvider};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use tokio::time::Instant;
use tower_ops_otel::{DropReason, Protocol, Telemetry, TelemetryBuilder, opentelemetry};

mod collector;
mod counts;
mod exchanges;
mod shutdown;
mod tls;

use self::collector::{Behaviour, Collector, text};

const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

async fn collector(protocol: Protocol, behaviour: Behaviour) -> Collector {
    match protocol {
        Protocol::Grpc => Collector::grpc(behaviour).await,
        _ => Collector::http(behaviour).await,
    }
}

/// Without the variables of whoever runs the tests.
fn builder(protocol: Protocol, url: &str) -> TelemetryBuilder {
    Telemetry::builder("orders", "1.4.2")
        .environment_variables([("OTEL_SEMCONV_STABILITY_OPT_IN", "")])
        .without_globals()
        .protocol(protocol)
        .endpoint(url)
}

fn make_spans(telemetry: &Telemetry, count: usize) {
    let tracer = telemetry
        .tracer_provider()
        .expect("exports spans")
        .tracer("test");
    for _ in 0..count {
        tracer.start("work").end();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_arrive_with_what_the_service_is_called() {
    for protocol in BOTH {
        let collector = collector(protocol, Behaviour::Take).await;
        let telemetry = builder(protocol, &collector.url())
            .environment("production")
            .instance("orders-7")
            .attribute("team", "shop")
            .environment_variables([
                ("OTEL_RESOURCE_ATTRIBUTES", "region=eu%2Dwest,team=billing"),
                (
                    "OTEL_EXPORTER_OTLP_HEADERS",
                    "authorization=Bearer%20secret",
                ),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
                ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5"),
            ])
            .start()
            .unwrap();
        assert_eq!(telemetry.warnings(), &[] as &[String]);
        let tracer = telemetry.tracer_provider().unwrap().tracer("test");
        let mut span = tracer.start("work");
        span.set_attribute(KeyValue::new("text", "äöüßéx"));
        span.end();
        telemetry.shutdown().await;

        let received = collector.received();
        assert_eq!(received.headers[0]["authorization"], "Bearer secret");
        let agent = received.headers[0]["user-agent"].to_str().unwrap();
        assert!(agent.starts_with("tower-ops-otel/"), "{agent}");
        let [request] = &received.traces[..] else {
            panic!("{} requests", received.traces.len());
        };
        let resource = request.resource_spans[0].resource.as_ref().unwrap();
        for (key, value) in [
            ("service.name", "orders"),
            ("service.version", "1.4.2"),
            ("service.instance.id", "orders-7"),
            ("deployment.environment.name", "production"),
            ("region", "eu-west"),
            ("team", "billing"),
            ("telemetry.sdk.language", "rust"),
        ] {
            assert_eq!(text(&resource.attributes, key), value, "{key}");
        }
        let [span] = &received.spans()[..] else {
            panic!("{} spans", received.spans().len());
        };
        assert_eq!(span.name, "work");
        assert_eq!(text(&span.attributes, "text"), "äöüßé");
        let counts = telemetry.span_counts();
        assert_eq!((counts.exported, counts.dropped()), (1, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_signals_arrive() {
    for protocol in BOTH {
        let collector = collector(protocol, Behaviour::Take).await;
        let telemetry = builder(protocol, &collector.url())
            .metrics()
            .logs()
            .start()
            .unwrap();
        make_spans(&telemetry, 3);
        let meter = telemetry.meter_provider().unwrap().meter("test");
        meter.u64_counter("orders").build().add(7, &[]);
        let logger = telemetry.logger_provider().unwrap().logger("test");
        let mut record = logger.create_log_record();
        record.set_body("hello".into());
        logger.emit(record);
        telemetry.shutdown().await;

        let received = collector.received();
        assert_eq!(received.spans().len(), 3);
        let metric = &received.metrics[0].resource_metrics[0].scope_metrics[0].metrics[0];
        assert_eq!(metric.name, "orders");
        let logs = &received.logs[0].resource_logs[0];
        assert_eq!(logs.scope_logs[0].log_records.len(), 1);
        assert_eq!(telemetry.log_counts().exported, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_batch_does_not_wait() {
    let collector = collector(Protocol::Grpc, Behaviour::Take).await;
    let telemetry = builder(Protocol::Grpc, &collector.url())
        .set("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        .set("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
        .start()
        .unwrap();
    make_spans(&telemetry, 9);
    while collector.received().spans().len() < 8 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(collector.received().traces.iter().all(|request| {
        let scopes = &request.resource_spans[0].scope_spans;
        scopes[0].spans.len() == 4
    }));
    // The ninth waits for others, until the end.
    telemetry.shutdown().await;
    assert_eq!(telemetry.span_counts().exported, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_not_full_waits_no_longer_than_the_delay() {
    let collector = collector(Protocol::HttpProtobuf, Behaviour::Take).await;
    let telemetry = builder(Protocol::HttpProtobuf, &collector.url())
        .set("OTEL_BSP_SCHEDULE_DELAY", "20")
        .start()
        .unwrap();
    make_spans(&telemetry, 1);
    while telemetry.span_counts().exported < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_passes_is_tried_again() {
    for protocol in BOTH {
        let collector = collector(protocol, Behaviour::Unavailable).await;
        let telemetry = builder(protocol, &collector.url())
            .set("OTEL_BSP_SCHEDULE_DELAY", "10")
            .start()
            .unwrap();
        make_spans(&telemetry, 5);
        while collector.received().attempts == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        collector.set(Behaviour::Take);
        while telemetry.span_counts().exported < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(collector.received().spans().len(), 5);
    }
}

#[test]
fn without_an_endpoint_nothing_is_exported() {
    let telemetry = Telemetry::builder("orders", "")
        .environment_variables([("OTEL_BSP_MAX_QUEUE_SIZE", "7")])
        .without_globals()
        .start()
        .unwrap();
    assert!(!telemetry.exports_spans());
    assert!(telemetry.meter_provider().is_none());
}

#[test]
fn what_the_builder_is_given_is_checked_at_once() {
    let error = Telemetry::builder(" ", "1")
        .environment_variables([("OTEL_BSP_MAX_QUEUE_SIZE", "also wrong, but only a warning")])
        .set("OTEL_BSP_QUEUE", "1")
        .set("OTEL_BSP_MAX_QUEUE_SIZE", "0")
        .endpoint("collector:4317")
        .start()
        .unwrap_err();
    insta(&error.to_string());
}

fn insta(text: &str) {
    let wanted = "the configuration of the telemetry is invalid:
  - service: is empty
  - OTEL_BSP_QUEUE: is not known
  - OTEL_EXPORTER_OTLP_ENDPOINT is not a URL that begins with http:// or https://: no traces are exported
  - OTEL_BSP_MAX_QUEUE_SIZE is \"0\", which is not a whole number of 1 or more: it is ignored
  - not known, and not read: OTEL_BSP_QUEUE";
    assert_eq!(text, wanted);
}
