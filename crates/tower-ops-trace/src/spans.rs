use std::fmt;

use http::Request;
use tower_ops_observe::{Ending, Facts, GrpcCode, Observe, Route, original_path};
use tracing::Span;
use tracing::field::{Empty, display};
use tracing::level_filters::LevelFilter;

use crate::access::AccessLog;
use crate::context::TraceContext;
use crate::fields::{EndFields, version};
use crate::heard::{self, Fingerprint, Heard, OpenSpan, shown};
use crate::inbound::Inbound;
use crate::layer::TraceLayer;
use crate::origin::{Decisions, Origin};
use crate::sampling::Sampling;
use crate::status::{ErrorType, SpanName, SpanStatus};
use crate::tracer::{ExchangeTracer, SpanStart};
use crate::truncated::truncated;

/// The target of the spans of exchanges, for filters: `tower_ops::span`.
pub const SPAN_TARGET: &str = "tower_ops::span";

/// The observer behind a [`TraceLayer`], to go into a tuple with others.
///
/// Put it after the one that assigns the request id, which the span shows, and before those that
/// want to know the trace, such as a tracker of requests.
///
/// For each request it reads the context that came in, decides whether the trace is recorded, and
/// gives the exchange the [ids](tower_ops_observe::TraceIds) of its span. They are in the [`Facts`], and all that runs
/// for the request finds them in [`RequestFacts::current`](tower_ops_observe::RequestFacts).
///
/// # The span
///
/// Named `request`, at level `INFO`, with the target [`SPAN_TARGET`]. It is the current span of
/// the handler and of the body. These fields are set when it is made, where they are known:
/// `http.request.method`, `url.scheme`, `http.route` or `rpc.system.name` and `rpc.method`,
/// `network.protocol.version`, `client.address`, `request_id`, `trace_id`, `span_id`, `trace_flags`,
/// and `linked_trace_id` for the trace of a caller that is not trusted. At the end, all at once:
/// the route if it has changed, `http.response.status_code`, `rpc.response.status_code`,
/// `error.type` (see [`SpanStatus`]) and `outcome`.
///
/// # A layer around a layer
///
/// A request that passes two of them has one trace, and a second span within the first. Only the
/// outer one logs it: that is where the access log belongs.
#[derive(Clone, Debug)]
pub struct Spans<T = ()> {
    tracer: T,
    decisions: Decisions,
    access: Option<AccessLog>,
    probes: bool,
    path: bool,
    otel_fields: bool,
    sampled_only: bool,
}

impl Spans {
    /// Goes on with the caller's trace, records what the caller wants and all that begins here,
    /// and logs nothing by itself.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tracer: (),
            decisions: Decisions {
                inbound: Inbound::accept(),
                sampling: Sampling::new(),
            },
            access: None,
            probes: false,
            path: false,
            otel_fields: false,
            sampled_only: false,
        }
    }
}

impl Default for Spans {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Spans<T> {
    /// Sets which callers are trusted. All by default.
    #[must_use]
    pub fn with_inbound(mut self, inbound: Inbound) -> Self {
        self.decisions.inbound = inbound;
        self
    }

    /// Sets which traces are recorded.
    #[must_use]
    pub fn with_sampling(mut self, sampling: Sampling) -> Self {
        self.decisions.sampling = sampling;
        self
    }

    /// Logs an event at the end of every exchange.
    #[must_use]
    pub fn with_access_log(mut self, log: AccessLog) -> Self {
        self.access = Some(log);
        self
    }

    /// Treats `grpc.health.v1` as any other service. By default its calls are not recorded, unless
    /// the caller's trace is, and not logged.
    #[must_use]
    pub const fn with_probes(mut self) -> Self {
        self.probes = true;
        self
    }

    /// Adds `url.path` to the span, without the query and [truncated](crate::truncated): text from a
    /// client.
    #[must_use]
    pub const fn with_path(mut self) -> Self {
        self.path = true;
        self
    }

    /// Adds the fields that a `tracing-opentelemetry` layer of your own reads: `otel.name`,
    /// `otel.kind` and `otel.status_code`.
    ///
    /// Such a layer makes ids of its own, which are not those that go out with requests.
    #[must_use]
    pub const fn with_otel_fields(mut self) -> Self {
        self.otel_fields = true;
        self
    }

    /// Opens the `tracing` span only for traces that are recorded. By default every exchange has
    /// one, for the log lines within.
    #[must_use]
    pub const fn with_sampled_spans_only(mut self) -> Self {
        self.sampled_only = true;
        self
    }

    /// Adds a tracer that makes a span of its own for every exchange, in place of an earlier one.
    #[must_use]
    pub fn with_tracer<U>(self, tracer: U) -> Spans<U> {
        let Self {
            tracer: _,
            decisions,
            access,
            probes,
            path,
            otel_fields,
            sampled_only,
        } = self;
        Spans {
            tracer,
            decisions,
            access,
            probes,
            path,
            otel_fields,
            sampled_only,
        }
    }

    /// Makes a layer of it, for a stack without other observers.
    #[must_use]
    pub fn into_layer(self) -> TraceLayer<T>
    where
        T: ExchangeTracer,
    {
        self.into()
    }

    fn make<B>(&self, request: &Request<B>, facts: &Facts, start: &SpanStart<'_>) -> Span {
        let route = shown(facts).map(Route::as_str);
        let rpc = facts.is_grpc();
        let ids = start.ids();
        tracing::info_span!(
            target: SPAN_TARGET,
            "request",
            otel.name = self.otel_fields.then(|| display(SpanName::incoming(facts))),
            otel.kind = self.otel_fields.then_some("server"),
            http.request.method = facts.method().as_str(),
            url.scheme = facts.scheme(),
            url.path = self.path.then(|| truncated(original_path(request))),
            http.route = route.filter(|_| !rpc),
            rpc.system.name = route.filter(|_| rpc).map(|_| "grpc"),
            rpc.method = route.filter(|_| rpc),
            network.protocol.version = version(facts.version()),
            client.address = facts.peer().map(|peer| display(peer.ip())),
            request_id = facts.request_id().and_then(|id| id.to_str().ok()),
            trace_id = ids.trace_id_hex().as_str(),
            span_id = ids.span_id_hex().as_str(),
            trace_flags = ids.flags_hex().as_str(),
            linked_trace_id = start.link().map(|link| display(link.ids().trace_id_hex())),
            http.response.status_code = Empty,
            rpc.response.status_code = Empty,
            error.type = Empty,
            otel.status_code = Empty,
            outcome = Empty,
        )
    }

    #[inline(never)]
    fn record(&self, span: &Span, shown: Fingerprint, ending: &Ending<'_>, facts: &Facts) {
        static FIELDS: EndFields<9> = EndFields::new([
            "http.route",
            "rpc.system.name",
            "rpc.method",
            "otel.name",
            "http.response.status_code",
            "rpc.response.status_code",
            "error.type",
            "otel.status_code",
            "outcome",
        ]);
        let rpc = facts.is_grpc();
        let changed = facts
            .route()
            .filter(|route| shown != Fingerprint::of(Some(route)));
        let route = changed.map(Route::as_str);
        let name = self.otel_fields && route.is_some();
        let status = SpanStatus::of(ending, facts);
        let error_type = status.error_type();
        FIELDS.record(
            span,
            [
                &route.filter(|_| !rpc),
                &(rpc && shown == Fingerprint::of(None)).then_some("grpc"),
                &route.filter(|_| rpc),
                &name.then(|| display(SpanName::incoming(facts))),
                &ending.status().map(|status| status.as_u16()),
                &ending.grpc_status().map(GrpcCode::as_str),
                &error_type.as_ref().map(ErrorType::as_str),
                &(self.otel_fields && status.is_error()).then_some("ERROR"),
                &ending.outcome().as_str(),
            ],
        );
    }
}

fn is_health(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.Health/")
}

impl<T: ExchangeTracer> Spans<T> {
    /// Begins an exchange that has another one around it, or a caller with a context. Apart, so that
    /// a trace that begins here does not pay for it.
    #[inline(never)]
    fn follow<B>(
        &self,
        mut caller: Option<TraceContext>,
        is_probe: bool,
        request: &Request<B>,
        facts: &mut Facts,
    ) -> SpanExchange<T::Exchange> {
        let origin = self.decisions.follow(&mut caller, is_probe, request, facts);
        self.begin(origin, caller.as_ref(), is_probe, request, facts)
    }

    #[inline(always)]
    fn begin<B>(
        &self,
        origin: Origin,
        link: Option<&TraceContext>,
        is_probe: bool,
        request: &Request<B>,
        facts: &mut Facts,
    ) -> SpanExchange<T::Exchange> {
        facts.set_trace_ids(origin.ids);
        let mut traced = self
            .tracer
            .begin(&origin.start(link, facts), request, facts);
        // With nobody there to listen, even a disabled span costs hundreds of
        // instructions where tracing's `log` feature is on; axum turns it on.
        let is_open = LevelFilter::current() >= LevelFilter::INFO
            && (origin.ids.is_sampled() || !self.sampled_only);
        let is_logged = self.access.is_some() && !is_probe && !origin.is_same_request;
        let mut heard = None;
        if is_open {
            heard = self.open(&mut traced, origin, link, request, facts);
        }
        if is_logged && let Some(log) = &self.access {
            heard.get_or_insert_with(heard::take).logged = Some(log.begin(request));
        }
        SpanExchange { heard, traced }
    }

    /// Opens the `tracing` span, if somebody wants it.
    #[inline(never)]
    fn open<B>(
        &self,
        traced: &mut T::Exchange,
        origin: Origin,
        link: Option<&TraceContext>,
        request: &Request<B>,
        facts: &Facts,
    ) -> Option<Box<Heard>> {
        let start = origin.start(link, facts);
        let make = || self.make(request, facts, &start);
        let open = OpenSpan::new(self.tracer.open(traced, make), facts)?;
        let mut heard = heard::take();
        heard.open = Some(open);
        Some(heard)
    }

    /// Logs the exchange and closes its span.
    #[inline(never)]
    fn close(&self, heard: Box<Heard>, ending: &Ending<'_>, facts: &Facts) {
        if let (Some(log), Some(request)) = (&self.access, &heard.logged) {
            log.end(request, ending, facts);
        }
        // The span closes when its last handle goes: tasks that the handler
        // spawned may hold it longer, this exchange does not.
        heard::give_back(heard);
    }
}

impl<T: ExchangeTracer> Observe for Spans<T> {
    type Exchange = SpanExchange<T::Exchange>;

    #[inline]
    fn on_request<B>(&self, request: &mut Request<B>, facts: &mut Facts) -> Self::Exchange {
        let caller = self.tracer.extract(request.headers());
        let is_probe = !self.probes && facts.is_grpc() && is_health(request.uri().path());
        if caller.is_some() || facts.is_nested() {
            return self.follow(caller, is_probe, request, facts);
        }
        let origin = self.decisions.begin(is_probe, request, facts);
        self.begin(origin, None, is_probe, request, facts)
    }

    #[inline]
    fn on_end(&self, exchange: &mut Self::Exchange, ending: &Ending<'_>, facts: &Facts) {
        let heard = exchange.heard.take();
        if let Some(open) = heard.as_ref().and_then(|heard| heard.open.as_ref()) {
            self.record(&open.span, open.shown, ending, facts);
        }
        // Found anew, and not at all for a tracer that does not look at it.
        let status = SpanStatus::of(ending, facts);
        self.tracer.end(&mut exchange.traced, ending, facts, status);
        if let Some(heard) = heard {
            self.close(heard, ending, facts);
        }
    }

    #[inline(always)]
    fn in_scope<R>(&self, exchange: &mut Self::Exchange, step: impl FnOnce() -> R) -> R {
        let SpanExchange { heard, traced } = exchange;
        let Some(open) = heard.as_ref().and_then(|heard| heard.open.as_ref()) else {
            return self.tracer.in_scope(traced, step);
        };
        let _entered = open.span.enter();
        self.tracer.in_scope(traced, step)
    }
}

/// One exchange's part of [`Spans`].
pub struct SpanExchange<X = ()> {
    /// `Some` until the end, if somebody wants the span or the event.
    heard: Option<Box<Heard>>,
    traced: X,
}

impl<X> fmt::Debug for SpanExchange<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanExchange")
            .field("heard", &self.heard)
            .finish_non_exhaustive()
    }
}
