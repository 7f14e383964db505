//! How a span gets the ids and the sampling decision that its exchange has already, in the SDK.

use std::cell::Cell;

use opentelemetry::trace::{Link, SpanId, SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{
    IdGenerator, RandomIdGenerator, SamplingDecision, SamplingResult, ShouldSample,
};
use tower_ops_observe::TraceIds;

use crate::settings::SamplerChoice;

thread_local! {
    /// Of the span that this thread is just making.
    static DECIDED: Cell<Option<TraceIds>> = const { Cell::new(None) };
}

/// Makes a span that is recorded and has these ids. `make` must make one span of the SDK.
pub(crate) fn with_decided<R>(ids: TraceIds, make: impl FnOnce() -> R) -> R {
    DECIDED.set(Some(ids));
    let made = make();
    DECIDED.set(None);
    made
}

/// The ids that are decided; for any other span random ones.
#[derive(Debug, Default)]
pub(crate) struct DecidedIds(RandomIdGenerator);

impl IdGenerator for DecidedIds {
    fn new_trace_id(&self) -> TraceId {
        match DECIDED.get() {
            Some(ids) => TraceId::from(ids.trace_id()),
            None => self.0.new_trace_id(),
        }
    }

    fn new_span_id(&self) -> SpanId {
        match DECIDED.get() {
            Some(ids) => SpanId::from(ids.span_id()),
            None => self.0.new_span_id(),
        }
    }
}

/// What is decided; for a child what was decided for its parent, and for what begins here the ratio.
#[derive(Clone, Debug)]
pub(crate) struct DecidedSampler(SamplerChoice);

impl DecidedSampler {
    pub(crate) const fn new(sampling: SamplerChoice) -> Self {
        Self(sampling)
    }
}

impl ShouldSample for DecidedSampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let parent = parent.filter(|parent| parent.has_active_span());
        let span = parent.map(|parent| parent.span());
        let parent = span.as_ref().map(|span| span.span_context());
        let parent = parent.filter(|parent| parent.is_valid());
        let is_sampled = DECIDED.get().is_some()
            || match parent {
                // Spans below one of ours share its decision, whatever the ratio.
                Some(parent) if self.0.parent_based || !parent.is_remote() => parent.is_sampled(),
                _ => self.0.ratio.takes(u128::from_be_bytes(trace_id.to_bytes())),
            };
        SamplingResult {
            decision: if is_sampled {
                SamplingDecision::RecordAndSample
            } else {
                SamplingDecision::Drop
            },
            attributes: Vec::new(),
            trace_state: parent
                .map_or_else(Default::default, |parent| parent.trace_state().clone()),
        }
    }
}
