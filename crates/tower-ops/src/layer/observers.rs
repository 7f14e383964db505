use std::fmt;

use http::{Request, Response};
use tower_ops_metrics::Metrics;
use tower_ops_observe::{Ending, Facts, Observe};
use tower_ops_request_id::RequestIds;
use tower_ops_requests::RequestTracker;
use tower_ops_trace::Spans;

use super::connection_facts::ConnectionFacts;

/// The observers of the bundle as one: the connection, request ids, a trace, tracking and metrics,
/// and those that were [added](crate::OpsLayer::with_observer).
///
/// Opaque, since any release may add another.
pub struct Observers<O = ()> {
    all: All<O>,
}

/// The exporter's part of a span.
#[cfg(feature = "otel")]
pub(crate) type Tracer = Option<tower_ops_otel::SpanTracer>;
#[cfg(not(feature = "otel"))]
pub(crate) type Tracer = ();

/// In this order, since each records facts that later ones read: the span shows the request id, and
/// the tracker the trace.
type All<O> = (
    ConnectionFacts,
    RequestIds,
    Option<Spans<Tracer>>,
    Option<RequestTracker>,
    Metrics,
    O,
);

/// The state of [`Observers`] for one exchange.
pub struct ObserversExchange<O: Observe> {
    all: <All<O> as Observe>::Exchange,
}

impl Observers {
    pub(crate) const fn new(
        connection: ConnectionFacts,
        ids: RequestIds,
        spans: Option<Spans<Tracer>>,
        tracker: Option<RequestTracker>,
        metrics: Metrics,
    ) -> Self {
        Self {
            all: (connection, ids, spans, tracker, metrics, ()),
        }
    }
}

impl<O: Clone> Observers<O> {
    /// Returns them with one more, the last.
    pub(crate) fn with<P>(&self, observer: P) -> Observers<(O, P)> {
        let (connection, ids, spans, tracker, metrics, added) = self.all.clone();
        Observers {
            all: (connection, ids, spans, tracker, metrics, (added, observer)),
        }
    }
}

impl<O: Observe> Observe for Observers<O> {
    type Exchange = ObserversExchange<O>;

    #[inline]
    fn on_request<B>(&self, request: &mut Request<B>, facts: &mut Facts) -> Self::Exchange {
        ObserversExchange {
            all: self.all.on_request(request, facts),
        }
    }

    #[inline]
    fn on_response<B>(
        &self,
        exchange: &mut Self::Exchange,
        response: &mut Response<B>,
        facts: &mut Facts,
    ) {
        self.all.on_response(&mut exchange.all, response, facts);
    }

    #[inline]
    fn on_data(&self, exchange: &mut Self::Exchange, bytes: usize) {
        self.all.on_data(&mut exchange.all, bytes);
    }

    #[inline]
    fn on_end(&self, exchange: &mut Self::Exchange, ending: &Ending<'_>, facts: &Facts) {
        self.all.on_end(&mut exchange.all, ending, facts);
    }

    #[inline(always)]
    fn in_scope<R>(&self, exchange: &mut Self::Exchange, step: impl FnOnce() -> R) -> R {
        self.all.in_scope(&mut exchange.all, step)
    }
}

impl<O> fmt::Debug for Observers<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observers").finish_non_exhaustive()
    }
}

impl<O: Observe> fmt::Debug for ObserversExchange<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserversExchange").finish_non_exhaustive()
    }
}
