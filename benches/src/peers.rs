use std::time::Duration;

use axum::Router;
use axum_prometheus::PrometheusMetricLayer;
use http::StatusCode;
use metrics_exporter_prometheus::PrometheusHandle;
use opentelemetry_instrumentation_tower::http::server;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tower::{ServiceBuilder, layer::util::Identity};
use tower_http::{
    catch_panic::CatchPanicLayer,
    classify::{ServerErrorsAsFailures, SharedClassifier},
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    timeout::TimeoutLayer,
    trace::{DefaultMakeSpan, DefaultOnResponse, TraceLayer},
};
use tracing_subscriber::filter::LevelFilter;

use crate::{Workload, workload::router};

type HttpTraceLayer = TraceLayer<SharedClassifier<ServerErrorsAsFailures>>;

pub(crate) fn identity() -> Workload {
    Workload::inside(Identity::new())
}

pub(crate) fn request_id_pair() -> Workload {
    Workload::inside(
        ServiceBuilder::new()
            .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
            .layer(PropagateRequestIdLayer::x_request_id()),
    )
}

pub(crate) fn trace() -> Workload {
    Workload::inside(TraceLayer::new_for_http())
}

pub(crate) fn trace_json() -> Workload {
    log_json();
    Workload::inside(trace_at_info())
}

pub(crate) fn prometheus() -> Workload {
    let (app, handle) = with_prometheus(router());
    Workload::of(app).with_upkeep(move || handle.run_upkeep())
}

/// Metrics and traces are on by default; the global providers are no-ops until they are set.
pub(crate) fn otel() -> Workload {
    Workload::inside(server::Layer::new())
}

pub(crate) fn otel_metrics() -> Workload {
    // A reader that is only asked leaves no thread of its own behind.
    let reader = opentelemetry_prometheus::exporter()
        .with_registry(prometheus::Registry::new())
        .build()
        .expect("an exporter without names of its own");
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    opentelemetry::global::set_meter_provider(provider);
    Workload::inside(server::Layer::new())
}

pub(crate) fn whole() -> Workload {
    let (app, handle) = with_all(router());
    Workload::of(app).with_upkeep(move || handle.run_upkeep())
}

pub(crate) fn whole_json() -> Workload {
    log_json();
    let (app, handle) = with_all_and(router(), trace_at_info());
    Workload::of(app).with_upkeep(move || handle.run_upkeep())
}

pub(crate) fn with_prometheus(app: Router) -> (Router, PrometheusHandle) {
    let (layer, handle) = PrometheusMetricLayer::pair();
    (app.layer(layer), handle)
}

pub(crate) fn with_all(app: Router) -> (Router, PrometheusHandle) {
    with_all_and(app, TraceLayer::new_for_http())
}

fn with_all_and(app: Router, trace: HttpTraceLayer) -> (Router, PrometheusHandle) {
    let (metrics, handle) = PrometheusMetricLayer::pair();
    let timeout = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, TIMEOUT);
    let layers = ServiceBuilder::new()
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(trace)
        .layer(metrics)
        .layer(CatchPanicLayer::new())
        .layer(timeout);
    (app.layer(layers), handle)
}

pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// The usual JSON log, written to nowhere: formatting is the stack's, writing is the system's.
pub(crate) fn log_json() {
    tracing_subscriber::fmt()
        .json()
        .with_max_level(LevelFilter::INFO)
        .with_writer(std::io::sink)
        .init();
}

/// One event a response, within a span: what most servers log. The defaults log nothing at INFO.
fn trace_at_info() -> HttpTraceLayer {
    TraceLayer::new_for_http()
        .make_span_with(DefaultMakeSpan::new().level(tracing::Level::INFO))
        .on_response(DefaultOnResponse::new().level(tracing::Level::INFO))
}
