//! This project's stacks. Each function builds one; `stack.rs` gives it a name.

use axum::Router;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tower::ServiceBuilder;
use tower_ops::{Ops, OpsBuilder, OpsLayer, metrics::Prometheus, observe::RouteHook};
use tower_ops_metrics::{DURATION_BUCKETS, Metrics, SIZE_BUCKETS};
use tower_ops_request_id::RequestIdLayer;
use tower_ops_requests::RequestTracker;
use tower_ops_trace::TraceLayer;

use crate::{
    Workload,
    peers::{TIMEOUT, log_json},
};

pub(crate) fn request_id() -> Workload {
    Workload::inside(RequestIdLayer::new())
}

pub(crate) fn metrics() -> Workload {
    let handle = recorder();
    let metrics = Metrics::builder().build().expect("the defaults are valid");
    Workload::inside(metrics.layer()).with_upkeep(move || handle.run_upkeep())
}

pub(crate) fn requests() -> Workload {
    Workload::inside(RequestTracker::new().layer())
}

pub(crate) fn trace() -> Workload {
    Workload::inside(TraceLayer::new())
}

pub(crate) fn bundle() -> Workload {
    let (layer, handle) = ops(|ops| ops);
    Workload::inside(layer).with_upkeep(move || handle.run_upkeep())
}

pub(crate) fn without_requests() -> Workload {
    let (layer, handle) = ops(OpsBuilder::without_requests);
    Workload::inside(layer).with_upkeep(move || handle.run_upkeep())
}

pub(crate) fn whole() -> Workload {
    let (layer, handle) = ops(|ops| ops);
    let layer = layer.with_timeout(TIMEOUT).with_catch_panic();
    Workload::inside(layer).with_upkeep(move || handle.run_upkeep())
}

pub(crate) fn whole_json() -> Workload {
    log_json();
    whole()
}

pub(crate) fn around() -> Workload {
    let (layer, handle) = ops(|ops| ops);
    Workload::around(layer).with_upkeep(move || handle.run_upkeep())
}

pub(crate) fn around_without_requests() -> Workload {
    let (layer, handle) = ops(OpsBuilder::without_requests);
    Workload::around(layer).with_upkeep(move || handle.run_upkeep())
}

pub(crate) fn around_with_hook() -> Workload {
    let (layer, handle) = ops(|ops| ops);
    let hooked = ServiceBuilder::new()
        .layer(layer)
        .layer_fn(|router: Router| router.layer(RouteHook::new()));
    Workload::around(hooked).with_upkeep(move || handle.run_upkeep())
}

fn ops(change: fn(OpsBuilder) -> OpsBuilder) -> (OpsLayer, PrometheusHandle) {
    let handle = recorder();
    let ops = Ops::builder("bench").prometheus(Prometheus::from_handle(handle.clone()));
    let ops = change(ops).build().expect("a valid configuration");
    (ops.layer(), handle)
}

/// The recorder that the project would make itself, in our hands, because the one upkeep that counts is
/// that on the measured thread.
fn recorder() -> PrometheusHandle {
    let of_sizes = Matcher::Suffix("_bytes".into());
    PrometheusBuilder::new()
        .set_buckets(&DURATION_BUCKETS)
        .and_then(|builder| builder.set_buckets_for_metric(of_sizes, &SIZE_BUCKETS))
        .and_then(PrometheusBuilder::install_recorder)
        .expect("the only recorder of the process")
}
