//! What the functions of the crate find where a telemetry is the global one: in a process of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to fail")]

#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "otlp/collector.rs"]
mod collector;

use std::time::Duration;

use http::HeaderMap;
use tokio::sync::Mutex;
use tower_ops_otel::opentelemetry::trace::FutureExt;
use tower_ops_otel::{
    Protocol, Telemetry, add_span_attributes, create_span, extract_context, in_span,
    inject_context, opentelemetry::KeyValue,
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

use self::collector::{Behaviour, Collector, text};

/// One after the other: they have the globals in common.
static ALONE: Mutex<()> = Mutex::const_new(());

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03";

#[tokio::test(flavor = "multi_thread")]
async fn functions_work_in_the_current_span() {
    let _alone = ALONE.lock().await;
    let collector = Collector::http(Behaviour::Take).await;
    let telemetry = Telemetry::builder("orders", "1")
        .environment_variables([("OTEL_PROPAGATORS", "tracecontext")])
        .protocol(Protocol::HttpProtobuf)
        .endpoint(collector.url())
        .start()
        .unwrap();

    let mut message = HeaderMap::new();
    message.insert("traceparent", PARENT.parse().unwrap());
    message.insert("tracestate", "vendor=opaque".parse().unwrap());
    let mut sent = HeaderMap::new();
    let work = async {
        tokio::task::yield_now().await;
        add_span_attributes([KeyValue::new("order", "o-1")]);
        inject_context(&mut sent);
        let _inner = create_span("inner").attach();
    };
    in_span("outer", work)
        .with_context(extract_context(&message))
        .await;
    let dropped = in_span("dropped", std::future::pending::<()>());
    tokio::time::timeout(Duration::from_millis(5), dropped)
        .await
        .unwrap_err();
    telemetry.shutdown().await;

    let spans = collector.received().spans();
    assert_eq!(spans.len(), 3);
    let span = |name| spans.iter().find(|span| span.name == name).unwrap();
    let (outer, inner) = (span("outer"), span("inner"));
    assert_eq!(
        outer.parent_span_id,
        0x00f0_67aa_0ba9_02b7_u64.to_be_bytes()
    );
    assert_eq!(inner.parent_span_id, outer.span_id);
    assert_eq!(text(&outer.attributes, "order"), "o-1");
    assert_eq!(sent["tracestate"], "vendor=opaque");
    let sent = sent["traceparent"].to_str().unwrap();
    // The random flag goes on as it came.
    assert_eq!((&sent[..36], &sent[52..]), (&PARENT[..36], &PARENT[52..]));
    assert!(span("dropped").parent_span_id.is_empty());
}

/// hyper, h2 and tonic trace and log all that they do, and so does a failing export: if that were
/// exported, there would be no end.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_not_exported_itself() {
    let _alone = ALONE.lock().await;
    let collector = Collector::grpc(Behaviour::Unavailable).await;
    let telemetry = Telemetry::builder("orders", "1")
        .environment_variables([
            ("OTEL_BSP_SCHEDULE_DELAY", "10"),
            ("OTEL_BLRP_SCHEDULE_DELAY", "10"),
            ("OTEL_LOG_LEVEL", "trace"),
        ])
        .protocol(Protocol::Grpc)
        .endpoint(collector.url())
        .logs()
        .start()
        .unwrap();
    let subscriber = tracing_subscriber::registry().with(telemetry.layer_up_to(LevelFilter::TRACE));
    tracing::subscriber::set_global_default(subscriber).unwrap();
    // The collector is in this process, and what it traces is exported as it should be: so the
    // thread of the exports is looked at alone.
    tracing::info_span!("mine").in_scope(|| tracing::info!("mine"));
    while collector.received().attempts < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    collector.set(Behaviour::Take);
    while telemetry.span_counts().exported == 0 || telemetry.log_counts().exported == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    telemetry.shutdown().await;

    let received = collector.received();
    assert!(received.spans().iter().any(|span| span.name == "mine"));
    let scopes = received
        .logs
        .iter()
        .flat_map(|request| &request.resource_logs);
    let scopes = scopes.flat_map(|of| &of.scope_logs);
    let names: Vec<_> = scopes
        .map(|of| of.scope.as_ref().unwrap().name.as_str())
        .collect();
    assert!(names.contains(&"globals"), "{names:?}");
    // What only the exporting side logs.
    for name in &names {
        assert!(!name.starts_with("tower_ops_otel"), "{names:?}");
        assert!(!name.starts_with("hyper_util::client"), "{names:?}");
        assert!(!name.starts_with("h2::client"), "{names:?}");
    }
}
