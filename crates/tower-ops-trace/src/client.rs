use std::fmt;

use http::uri::Authority;
use http::{HeaderName, Request};
use tower_layer::Layer;
use tower_ops_observe::{
    Ending, Facts, GrpcCode, Observe, ObserveLayer, ObserveService, RequestFacts, TraceIds,
};
use tracing::Span;
use tracing::field::Empty;
use tracing::level_filters::LevelFilter;

use crate::context::TraceContext;
use crate::fields::{EndFields, FullUrl, version};
use crate::ids;
use crate::retry_count::count_attempt;
use crate::sampling::Ratio;
use crate::spans::SPAN_TARGET;
use crate::status::{ErrorType, SpanName, SpanStatus};
use crate::tracer::{ExchangeTracer, SpanContext, SpanStart};

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Opens a span for every request that goes out, and sends the trace and the request id along.
///
/// For hyper-util's client, a tonic `Channel` and every other tower service that takes an
/// [`http::Request`]. In the code of a handler the span is a child of the exchange's, without
/// anything to pass; outside of any exchange it begins a trace. See [`ClientSpans`].
///
/// Put it around the client, within what sends again: one span an attempt. How often a request was
/// sent is known with a [`RetryCountLayer`](crate::RetryCountLayer) around that.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use http::{Request, Response};
/// use tower::{ServiceBuilder, ServiceExt};
/// use tower_ops_trace::{ClientTraceLayer, TraceLayer};
///
/// let client = ServiceBuilder::new()
///     .layer(ClientTraceLayer::new())
///     .service_fn(async |request: Request<String>| {
///         assert!(request.headers().contains_key("traceparent"));
///         Ok::<_, std::convert::Infallible>(Response::new(String::new()))
///     });
/// let server = ServiceBuilder::new()
///     .layer(TraceLayer::new())
///     .service_fn(move |_: Request<()>| client.clone().oneshot(Request::new(String::new())));
/// server.oneshot(Request::new(())).await.unwrap();
/// # }
/// ```
pub struct ClientTraceLayer<T: ExchangeTracer = ()>(ObserveLayer<ClientSpans<T>>);

impl ClientTraceLayer {
    /// A layer with the defaults of [`ClientSpans`].
    #[must_use]
    pub fn new() -> Self {
        ClientSpans::new().into_layer()
    }
}

impl Default for ClientTraceLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: ExchangeTracer> Clone for ClientTraceLayer<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: ExchangeTracer> fmt::Debug for ClientTraceLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientTraceLayer").finish_non_exhaustive()
    }
}

impl<S, T: ExchangeTracer> Layer<S> for ClientTraceLayer<T> {
    type Service = ObserveService<S, ClientSpans<T>>;

    fn layer(&self, inner: S) -> Self::Service {
        self.0.layer(inner)
    }
}

/// The observer behind a [`ClientTraceLayer`], to go into an
/// [`ObserveLayer::outgoing`] with others.
///
/// # The span
///
/// Named `outgoing_request`, at level `INFO`, with the target [`SPAN_TARGET`], open to the end of
/// the response's body. With the fields `http.request.method`, `server.address`, `server.port`,
/// `url.full` (without its query and without credentials), `rpc.system.name`, `rpc.method`,
/// `network.protocol.version`, `http.request.resend_count`, `trace_id` and `span_id`; at the end
/// `http.response.status_code`, `rpc.response.status_code`, `error.type` and `outcome`. An answer of
/// 4xx or 5xx, or a gRPC code but `OK`, is an error here; that the caller drops the request is none
/// (see [`SpanStatus`]).
///
/// # What goes out
///
/// `traceparent` with the ids of this span, in place of one that is there; `tracestate` as the
/// caller sent it, where it is trusted; and the current request id, unless the request has one.
#[derive(Clone, Debug)]
pub struct ClientSpans<T = ()> {
    tracer: T,
    ratio: Ratio,
    request_id: Option<HeaderName>,
    server: Option<Authority>,
    otel_fields: bool,
    sampled_only: bool,
}

impl ClientSpans {
    /// Sends the request id in `x-request-id`, and records every trace that begins here.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tracer: (),
            ratio: Ratio::ALL,
            request_id: Some(X_REQUEST_ID),
            server: None,
            otel_fields: false,
            sampled_only: false,
        }
    }
}

impl Default for ClientSpans {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> ClientSpans<T> {
    /// Sets how many of the traces are recorded that begin with a request of this client.
    #[must_use]
    pub const fn with_ratio(mut self, ratio: Ratio) -> Self {
        self.ratio = ratio;
        self
    }

    /// Sends the request id in another header.
    #[must_use]
    pub fn with_request_id_header(mut self, name: HeaderName) -> Self {
        self.request_id = Some(name);
        self
    }

    /// Sends no request id.
    #[must_use]
    pub fn without_request_id(mut self) -> Self {
        self.request_id = None;
        self
    }

    /// Sets `server.address` and `server.port` for requests that do not name their server: those to
    /// a tonic `Channel` have a path only.
    #[must_use]
    pub fn with_server(mut self, server: Authority) -> Self {
        self.server = Some(server);
        self
    }

    /// Adds the fields that a `tracing-opentelemetry` layer of your own reads: `otel.name`,
    /// `otel.kind` and `otel.status_code`.
    #[must_use]
    pub const fn with_otel_fields(mut self) -> Self {
        self.otel_fields = true;
        self
    }

    /// Opens the `tracing` span only for traces that are recorded.
    #[must_use]
    pub const fn with_sampled_spans_only(mut self) -> Self {
        self.sampled_only = true;
        self
    }

    /// Adds a tracer that makes a span of its own for every exchange, in place of an earlier one.
    #[must_use]
    pub fn with_tracer<U>(self, tracer: U) -> ClientSpans<U> {
        let Self {
            tracer: _,
            ratio,
            request_id,
            server,
            otel_fields,
            sampled_only,
        } = self;
        ClientSpans {
            tracer,
            ratio,
            request_id,
            server,
            otel_fields,
            sampled_only,
        }
    }

    /// Makes a layer of it, for a client without other observers.
    #[must_use]
    pub fn into_layer(self) -> ClientTraceLayer<T>
    where
        T: ExchangeTracer,
    {
        ClientTraceLayer(ObserveLayer::outgoing(self))
    }

    fn begin_trace(&self) -> TraceIds {
        let ids = ids::new_trace();
        let sampled = u8::from(self.ratio.takes(ids.trace_id()));
        ids.with_flags(ids.flags() | sampled)
    }

    fn open<B>(&self, request: &Request<B>, facts: &Facts, start: &SpanStart<'_>) -> Span {
        let rpc = facts.is_grpc();
        let path = request.uri().path();
        let (address, port) = start.server(request).unzip();
        let resent = start.resend_count();
        let ids = start.ids();
        tracing::info_span!(
            target: SPAN_TARGET,
            "outgoing_request",
            otel.name = self.otel_fields.then(|| display(SpanName::outgoing(facts, request))),
            otel.kind = self.otel_fields.then_some("client"),
            http.request.method = facts.method().as_str(),
            server.address = address,
            server.port = port.flatten(),
            url.full = request.uri().authority().map(|_| display(FullUrl(request.uri()))),
            rpc.system.name = rpc.then_some("grpc"),
            rpc.method = rpc.then(|| path.strip_prefix('/').unwrap_or(path)),
            network.protocol.version = version(facts.version()),
            http.request.resend_count = (resent > 0).then_some(resent),
            trace_id = ids.trace_id_hex().as_str(),
            span_id = ids.span_id_hex().as_str(),
            http.response.status_code = Empty,
            rpc.response.status_code = Empty,
            error.type = Empty,
            otel.status_code = Empty,
            outcome = Empty,
        )
    }

    fn record(&self, span: &Span, ending: &Ending<'_>, status: SpanStatus) {
        static FIELDS: EndFields<5> = EndFields::new([
            "http.response.status_code",
            "rpc.response.status_code",
            "error.type",
            "otel.status_code",
            "outcome",
        ]);
        let error_type = status.error_type();
        FIELDS.record(
            span,
            [
                &ending.status().map(|status| status.as_u16()),
                &ending.grpc_status().map(GrpcCode::as_str),
                &error_type.as_ref().map(ErrorType::as_str),
                &(self.otel_fields && status.is_error()).then_some("ERROR"),
                &ending.outcome().as_str(),
            ],
        );
    }

    fn send_ids<B>(&self, request: &mut Request<B>, facts: &Facts)
    where
        T: ExchangeTracer,
    {
        let headers = request.headers_mut();
        if let Some(ids) = facts.trace_ids() {
            let context = SpanContext::new(ids, facts.trace_state());
            self.tracer.inject(&context, headers);
        }
        let Some(name) = &self.request_id else { return };
        let id = facts.request_id().cloned();
        if let Some(id) = id.or_else(RequestFacts::current_request_id)
            && !headers.contains_key(name)
        {
            headers.insert(name.clone(), id);
        }
    }
}

impl<T: ExchangeTracer> Observe for ClientSpans<T> {
    type Exchange = ClientSpanExchange<T::Exchange>;

    fn on_request<B>(&self, request: &mut Request<B>, facts: &mut Facts) -> Self::Exchange {
        // Of a task, too, which is no exchange, and whose facts are not in those of this one.
        let around = self.tracer.current().or_else(TraceContext::current);
        let (around, state) = around.map(TraceContext::into_parts).unzip();
        facts.set_trace_state(state.flatten());
        let ids = match around {
            Some(around) => around.with_span_id(ids::span()),
            None => self.begin_trace(),
        };
        facts.set_trace_ids(ids);
        let start = SpanStart {
            ids,
            parent: around,
            is_remote: false,
            link: None,
            state: facts.trace_state(),
            resend_count: count_attempt(request),
            server: self.server.as_ref(),
        };
        let mut traced = self.tracer.begin(&start, request, facts);
        let is_wanted =
            LevelFilter::current() >= LevelFilter::INFO && (ids.is_sampled() || !self.sampled_only);
        let mut span = None;
        if is_wanted {
            let open = || self.open(request, facts, &start);
            let opened = self.tracer.open(&mut traced, open);
            span = (!opened.is_disabled()).then_some(opened);
        }
        self.send_ids(request, facts);
        ClientSpanExchange { span, traced }
    }

    fn on_end(&self, exchange: &mut Self::Exchange, ending: &Ending<'_>, facts: &Facts) {
        let status = SpanStatus::of(ending, facts);
        if let Some(span) = &exchange.span {
            self.record(span, ending, status);
        }
        self.tracer.end(&mut exchange.traced, ending, facts, status);
        if exchange.span.is_some() {
            exchange.span = None;
        }
    }

    #[inline(always)]
    fn in_scope<R>(&self, exchange: &mut Self::Exchange, step: impl FnOnce() -> R) -> R {
        let ClientSpanExchange { span, traced } = exchange;
        let Some(span) = span else {
            return self.tracer.in_scope(traced, step);
        };
        let _entered = span.enter();
        self.tracer.in_scope(traced, step)
    }
}

/// One exchange's part of [`ClientSpans`].
pub struct ClientSpanExchange<X = ()> {
    /// `Some` until the end, if somebody wants it.
    span: Option<Span>,
    traced: X,
}

impl<X> fmt::Debug for ClientSpanExchange<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSpanExchange")
            .field("span", &self.span)
            .finish_non_exhaustive()
    }
}
