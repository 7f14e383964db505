//! Between the ids of an exchange and OpenTelemetry's.

use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState as OtelState,
};
use tower_ops_observe::TraceIds;
use tower_ops_trace::{TraceContext, TraceState};

/// The flags that level 2 of the W3C trace context defines.
const KNOWN_FLAGS: u8 = TraceIds::SAMPLED | TraceIds::RANDOM;

pub(crate) fn to_otel(ids: TraceIds, is_remote: bool, state: Option<&str>) -> SpanContext {
    SpanContext::new(
        TraceId::from(ids.trace_id()),
        SpanId::from(ids.span_id()),
        TraceFlags::new(ids.flags() & KNOWN_FLAGS),
        is_remote,
        state
            .and_then(|state| state.parse().ok())
            .unwrap_or(OtelState::NONE),
    )
}

pub(crate) fn to_ids(context: &SpanContext) -> Option<TraceIds> {
    if !context.is_valid() {
        return None;
    }
    let trace = u128::from_be_bytes(context.trace_id().to_bytes());
    let span = u64::from_be_bytes(context.span_id().to_bytes());
    TraceIds::new(trace, span, context.trace_flags().to_u8() & KNOWN_FLAGS)
}

/// The span that is current on this thread for OpenTelemetry.
pub(crate) fn of(context: &Context) -> Option<TraceContext> {
    if !context.has_active_span() {
        return None;
    }
    let span = context.span();
    let context = span.span_context();
    let ids = to_ids(context)?;
    let state = context.trace_state();
    let state = if *state == OtelState::NONE {
        None
    } else {
        http::HeaderValue::try_from(state.header())
            .ok()
            .and_then(|state| TraceState::parse(&state))
    };
    Some(TraceContext::new(ids, state))
}
