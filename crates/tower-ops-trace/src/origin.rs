//! Where a span stands: whose child it is, and whether it is recorded.

use http::Request;
use tower_ops_observe::{Facts, TraceIds};

use crate::context::TraceContext;
use crate::ids;
use crate::inbound::Inbound;
use crate::sampling::Sampling;
use crate::tracer::SpanStart;

/// Whom to trust, and what to record.
#[derive(Clone, Debug)]
pub(crate) struct Decisions {
    pub(crate) inbound: Inbound,
    pub(crate) sampling: Sampling,
}

/// Where a span stands.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) ids: TraceIds,
    parent: Option<TraceIds>,
    is_remote: bool,
    /// Whether an observer like this one stands around, and watches the same request.
    pub(crate) is_same_request: bool,
}

impl Origin {
    #[inline]
    pub(crate) fn start<'a>(
        &self,
        link: Option<&'a TraceContext>,
        facts: &'a Facts,
    ) -> SpanStart<'a> {
        SpanStart {
            ids: self.ids,
            parent: self.parent,
            is_remote: self.is_remote,
            link,
            state: facts.trace_state(),
            resend_count: 0,
            server: None,
        }
    }
}

impl Decisions {
    /// Goes on with the trace of the exchange around this one, or of the caller.
    ///
    /// What is left in `caller` is to be linked to.
    pub(crate) fn follow<B>(
        &self,
        caller: &mut Option<TraceContext>,
        is_probe: bool,
        request: &Request<B>,
        facts: &mut Facts,
    ) -> Origin {
        let around = facts.trace_ids().filter(|_| facts.is_nested());
        if let Some(around) = around.filter(|ids| ids.span_id() != 0) {
            let came = caller.take().map(|caller| caller.ids());
            return Origin {
                ids: around.with_span_id(ids::span()),
                parent: Some(around),
                is_remote: false,
                // A client within this process has put its own span into the headers.
                is_same_request: came.is_none_or(|came| {
                    (came.trace_id(), came.span_id()) != (around.trace_id(), around.span_id())
                }),
            };
        }
        let trusted = caller.take_if(|_| self.inbound.accepts(facts, request.headers()));
        let Some((ids, state)) = trusted.map(TraceContext::into_parts) else {
            facts.set_trace_state(None);
            return self.begin(is_probe, request, facts);
        };
        facts.set_trace_state(state);
        let is_sampled = if is_probe {
            ids.is_sampled()
        } else {
            self.sampling.decide(ids, facts, request)
        };
        let flags = ids.flags() & !TraceIds::SAMPLED;
        Origin {
            ids: ids
                .with_span_id(ids::span())
                .with_flags(flags | u8::from(is_sampled)),
            parent: Some(ids),
            is_remote: true,
            is_same_request: false,
        }
    }

    /// Begins a trace.
    #[inline(always)]
    pub(crate) fn begin<B>(&self, is_probe: bool, request: &Request<B>, facts: &Facts) -> Origin {
        let ids = ids::new_trace();
        let is_sampled = !is_probe && self.sampling.decide_new(ids.trace_id(), facts, request);
        Origin {
            ids: ids.with_flags(ids.flags() | u8::from(is_sampled)),
            parent: None,
            is_remote: false,
            is_same_request: false,
        }
    }
}
