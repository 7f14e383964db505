use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, Response, header};
use tower_layer::Layer;
use tower_ops_observe::{
    Class, Ending, Facts, Observe, ObserveLayer, ObserveService, Outcome, Phase, Route,
    original_path,
};

use crate::handle::RequestHandle;
use crate::record::kind::Kind;
use crate::record::metadata::bounded_display;
use crate::record::progress::{End, Progress};
use crate::record::{Record, nanos};
use crate::registry::{Ended, Slot};
use crate::tracker::RequestTracker;
use crate::tracker::current::{self, Swap};

/// Tracks every request that passes. Made by [`RequestTracker::layer`].
#[derive(Clone, Debug)]
pub struct RequestTrackerLayer(ObserveLayer<RequestTracker>);

impl RequestTrackerLayer {
    pub(crate) const fn new(observe: ObserveLayer<RequestTracker>) -> Self {
        Self(observe)
    }
}

impl<S> Layer<S> for RequestTrackerLayer {
    type Service = ObserveService<S, RequestTracker>;

    fn layer(&self, inner: S) -> Self::Service {
        self.0.layer(inner)
    }
}

/// The state of one exchange in a [`RequestTracker`].
pub struct RequestExchange {
    /// `None` while it is the thread's current one, and after the end.
    record: Option<Arc<Record>>,
    slot: Slot,
    /// As it is in the record.
    progress: Progress,
}

impl fmt::Debug for RequestExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestExchange")
            .field("id", &self.record.as_ref().map(|record| record.id))
            .finish_non_exhaustive()
    }
}

impl Observe for RequestTracker {
    type Exchange = RequestExchange;

    fn on_request<B>(&self, request: &mut Request<B>, facts: &mut Facts) -> RequestExchange {
        if facts.peer().is_none()
            && let Some(find) = self.inner.peer
            && let Some(peer) = find(request.extensions())
        {
            facts.set_peer(peer);
        }
        let parent = current::with(|parent| parent.and_then(|parent| NonZeroU64::new(parent.id)));
        let registry = &self.inner.registry;
        let (record, slot) = registry.begin(Kind::Request, facts.started(), |record| {
            record.method = Some(facts.method());
            record.parent = parent;
            record.peer = facts.peer();
            record.connection = facts.connection();
            record.trace_ids = facts.trace_ids();
            record.early_route = certain_route(facts).cloned();
            let id = request_id(facts, request.headers());
            record.text.fill(id, original_path(request));
        });
        if self.inner.extension {
            request
                .extensions_mut()
                .insert(RequestHandle::new(Arc::clone(&record)));
        }
        RequestExchange {
            record: Some(record),
            slot,
            progress: Progress::new(Kind::Request),
        }
    }

    fn on_response<B>(
        &self,
        exchange: &mut RequestExchange,
        response: &mut Response<B>,
        facts: &mut Facts,
    ) {
        let Some(record) = &exchange.record else {
            return;
        };
        record.learn_route(facts.route());
        let progress = &mut exchange.progress;
        progress.phase = Phase::Body;
        progress.status = Some(response.status());
        // One of a known size is over at once.
        if facts.response_size().is_none() && is_event_stream(response.headers()) {
            progress.kind = Kind::Stream;
            self.inner
                .registry
                .change_kind(&exchange.slot, Kind::Stream);
        }
        record.set_progress(*progress);
    }

    fn on_data(&self, exchange: &mut RequestExchange, bytes: usize) {
        if let Some(record) = &exchange.record {
            record.add_bytes_sent(bytes as u64);
        }
    }

    fn on_end(&self, exchange: &mut RequestExchange, ending: &Ending<'_>, facts: &Facts) {
        let Some(record) = exchange.record.take() else {
            return;
        };
        if exchange.progress.phase == Phase::Head {
            record.learn_route(facts.route());
        }
        if let Some(after) = ending.time_to_head() {
            record.set_time_to_head(nanos(after));
        }
        let mut progress = exchange.progress;
        // What the client gets can differ from what the service answered.
        progress.status = ending.status();
        let mut end = End {
            outcome: ending.outcome(),
            class: ending.class(),
            grpc: ending.grpc_status(),
        };
        if ending.outcome() == Outcome::Upgraded {
            progress.kind = Kind::Upgrade;
        }
        if let Some(error) = ending.error() {
            record.extra_or_new().error = Some(bounded_display(&error));
        }
        end.apply_verdict(&record);
        let ended = Ended {
            end,
            duration: ending.duration(),
        };
        let registry = &self.inner.registry;
        registry.end(&exchange.slot, record, progress, ended);
    }

    #[inline(always)]
    fn in_scope<R>(&self, exchange: &mut RequestExchange, step: impl FnOnce() -> R) -> R {
        let _current = Swap::enter(&mut exchange.record);
        step()
    }
}

impl End {
    /// Applies `fail` or `reject` of the handle to a completed exchange. Any other outcome, such as
    /// a panic or a client that left, happened after it and stays.
    pub(crate) fn apply_verdict(&mut self, record: &Record) {
        if self.outcome != Outcome::Completed {
            return;
        }
        if let Some(extra) = record.extra()
            && let Some(verdict) = &extra.verdict
        {
            self.class = verdict.class;
            if verdict.class != Class::ClientError {
                self.outcome = Outcome::Failed;
            }
        }
    }
}

/// The route, unless it may still change: whether a gRPC method exists is known by its answer.
fn certain_route(facts: &Facts) -> Option<&Route> {
    facts
        .route()
        .filter(|route| !facts.is_grpc() || **route != Route::OTHER)
}

fn request_id<'a>(facts: &'a Facts, headers: &'a HeaderMap) -> &'a [u8] {
    // A layer of request ids that is not in the same ObserveLayer sets only the header.
    let id = facts.request_id().or_else(|| headers.get("x-request-id"));
    id.map_or(&[], HeaderValue::as_bytes)
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    const EVENT_STREAM: &[u8] = b"text/event-stream";
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let start = value.as_bytes().get(..EVENT_STREAM.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(EVENT_STREAM))
    })
}
