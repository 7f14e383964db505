use std::sync::Arc;

use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request, header};
use tower_ops_observe::{Ending, Facts, TraceIds};
use tracing::Span;

use crate::context::TraceContext;
use crate::status::SpanStatus;

/// Adds a span of its own to every exchange: the seam for an exporter, such as tower-ops-otel.
///
/// [`Spans`](crate::Spans) and [`ClientSpans`](crate::ClientSpans) do what all have in common (the
/// context, the trust, the sampling, the ids, the status) and call a tracer that is a type
/// parameter of theirs. Without one it is `()`, which costs nothing. `Option<T>` and `Arc<T>` are
/// tracers, for one that configuration turns on and one that is shared.
///
/// For each exchange, on the task that drives it and in this order:
///
/// | call | how often |
/// |---|---|
/// | [`extract`](Self::extract), or [`current`](Self::current) for a request that goes out | once |
/// | [`begin`](Self::begin): the ids are there, and whether the trace is recorded | once |
/// | [`inject`](Self::inject), for a request that goes out | once |
/// | [`open`](Self::open), around the making of the `tracing` span | once, if there will be one |
/// | [`in_scope`](Self::in_scope), inside of the `tracing` span | for every poll |
/// | [`end`](Self::end), before the `tracing` span closes | once, however it ends |
///
/// # Cost
///
/// Everything is called statically, and nothing is allocated for it. Of an exchange that is
/// not recorded, `begin` should build no more than what lets the children know
/// ([`SpanStart::is_sampled`]); the names, the attributes and the status are there as facts to take
/// when they are wanted, none of them made before.
///
/// None of the methods should panic; a panic ends the exchange, but for one of `end`, which is
/// caught.
///
/// # Examples
///
/// ```
/// use http::Request;
/// use tower_ops_observe::{Ending, Facts};
/// use tower_ops_trace::{ExchangeTracer, SpanName, SpanStart, SpanStatus, Spans};
///
/// struct Print;
///
/// impl ExchangeTracer for Print {
///     type Exchange = ();
///
///     fn begin<B>(&self, start: &SpanStart<'_>, _: &Request<B>, _: &Facts) {
///         println!("begin {} of {:?}", start.ids(), start.parent());
///     }
///
///     fn end(&self, (): &mut (), _: &Ending<'_>, facts: &Facts, status: SpanStatus) {
///         println!("end {}: {:?}", SpanName::incoming(facts), status.error_type());
///     }
/// }
///
/// let layer = Spans::new().with_tracer(Print).into_layer();
/// # let _ = layer;
/// ```
pub trait ExchangeTracer {
    /// Its part of one exchange.
    type Exchange;

    /// Reads the context of a request that came in: the W3C headers, unless overridden.
    #[inline]
    fn extract(&self, headers: &HeaderMap) -> Option<TraceContext> {
        TraceContext::extract(headers)
    }

    /// Writes the context into the headers of a request that goes out: the W3C headers, unless
    /// overridden.
    #[inline]
    fn inject(&self, context: &SpanContext<'_>, headers: &mut HeaderMap) {
        context.inject(headers);
    }

    /// Returns the span from whose code a request goes out, for a tracer that knows of spans within
    /// the handler. `None`, unless overridden: the exchange that is being served is the parent.
    #[inline]
    fn current(&self) -> Option<TraceContext> {
        None
    }

    /// Begins the span of an exchange, recorded or not.
    fn begin<B>(
        &self,
        start: &SpanStart<'_>,
        request: &Request<B>,
        facts: &Facts,
    ) -> Self::Exchange;

    /// Makes the `tracing` span of the exchange, by calling `make` once. For what a layer of the
    /// subscriber has to find in a thread-local then.
    #[inline]
    fn open(&self, exchange: &mut Self::Exchange, make: impl FnOnce() -> Span) -> Span {
        let _ = exchange;
        make()
    }

    /// Runs one step of the exchange, by calling `step` once: for what is current meanwhile.
    #[inline(always)]
    fn in_scope<R>(&self, exchange: &mut Self::Exchange, step: impl FnOnce() -> R) -> R {
        let _ = exchange;
        step()
    }

    /// Ends the span. The facts have the route by now. What the service leaves behind may be dropped
    /// in a scope after that.
    fn end(
        &self,
        exchange: &mut Self::Exchange,
        ending: &Ending<'_>,
        facts: &Facts,
        status: SpanStatus,
    );
}

/// Exports nothing.
impl ExchangeTracer for () {
    type Exchange = ();

    #[inline(always)]
    fn begin<B>(&self, _: &SpanStart<'_>, _: &Request<B>, _: &Facts) {}

    #[inline(always)]
    fn end(&self, (): &mut (), _: &Ending<'_>, _: &Facts, _: SpanStatus) {}
}

impl<T: ExchangeTracer> ExchangeTracer for Option<T> {
    type Exchange = Option<T::Exchange>;

    #[inline]
    fn extract(&self, headers: &HeaderMap) -> Option<TraceContext> {
        match self {
            Some(tracer) => tracer.extract(headers),
            None => ().extract(headers),
        }
    }

    #[inline]
    fn inject(&self, context: &SpanContext<'_>, headers: &mut HeaderMap) {
        match self {
            Some(tracer) => tracer.inject(context, headers),
            None => ().inject(context, headers),
        }
    }

    #[inline]
    fn current(&self) -> Option<TraceContext> {
        self.as_ref().and_then(T::current)
    }

    #[inline]
    fn begin<B>(
        &self,
        start: &SpanStart<'_>,
        request: &Request<B>,
        facts: &Facts,
    ) -> Self::Exchange {
        self.as_ref().map(|it| it.begin(start, request, facts))
    }

    #[inline]
    fn open(&self, exchange: &mut Self::Exchange, make: impl FnOnce() -> Span) -> Span {
        match (self, exchange) {
            (Some(tracer), Some(exchange)) => tracer.open(exchange, make),
            _ => make(),
        }
    }

    #[inline(always)]
    fn in_scope<R>(&self, exchange: &mut Self::Exchange, step: impl FnOnce() -> R) -> R {
        match (self, exchange) {
            (Some(tracer), Some(exchange)) => tracer.in_scope(exchange, step),
            _ => step(),
        }
    }

    #[inline]
    fn end(
        &self,
        exchange: &mut Self::Exchange,
        ending: &Ending<'_>,
        facts: &Facts,
        status: SpanStatus,
    ) {
        if let (Some(tracer), Some(exchange)) = (self, exchange) {
            tracer.end(exchange, ending, facts, status);
        }
    }
}

impl<T: ExchangeTracer> ExchangeTracer for Arc<T> {
    type Exchange = T::Exchange;

    #[inline]
    fn extract(&self, headers: &HeaderMap) -> Option<TraceContext> {
        T::extract(self, headers)
    }

    #[inline]
    fn inject(&self, context: &SpanContext<'_>, headers: &mut HeaderMap) {
        T::inject(self, context, headers);
    }

    #[inline]
    fn current(&self) -> Option<TraceContext> {
        T::current(self)
    }

    #[inline]
    fn begin<B>(
        &self,
        start: &SpanStart<'_>,
        request: &Request<B>,
        facts: &Facts,
    ) -> Self::Exchange {
        T::begin(self, start, request, facts)
    }

    #[inline]
    fn open(&self, exchange: &mut Self::Exchange, make: impl FnOnce() -> Span) -> Span {
        T::open(self, exchange, make)
    }

    #[inline(always)]
    fn in_scope<R>(&self, exchange: &mut Self::Exchange, step: impl FnOnce() -> R) -> R {
        T::in_scope(self, exchange, step)
    }

    #[inline]
    fn end(
        &self,
        exchange: &mut Self::Exchange,
        ending: &Ending<'_>,
        facts: &Facts,
        status: SpanStatus,
    ) {
        T::end(self, exchange, ending, facts, status);
    }
}

/// The context that goes out with a request.
#[derive(Clone, Copy, Debug)]
pub struct SpanContext<'a> {
    ids: TraceIds,
    state: Option<&'a HeaderValue>,
}

impl<'a> SpanContext<'a> {
    pub(crate) const fn new(ids: TraceIds, state: Option<&'a HeaderValue>) -> Self {
        Self { ids, state }
    }

    /// Returns the ids of the client's span.
    #[must_use]
    pub const fn ids(&self) -> TraceIds {
        self.ids
    }

    /// Returns the valid `tracestate`, if there is one.
    #[must_use]
    pub const fn state(&self) -> Option<&'a HeaderValue> {
        self.state
    }

    /// Writes the W3C headers.
    pub fn inject(&self, headers: &mut HeaderMap) {
        crate::context::inject(self.ids, self.state, headers);
    }
}

/// What is known of a span before anything is built for it.
#[derive(Clone, Copy, Debug)]
pub struct SpanStart<'a> {
    pub(crate) ids: TraceIds,
    pub(crate) parent: Option<TraceIds>,
    pub(crate) is_remote: bool,
    pub(crate) link: Option<&'a TraceContext>,
    pub(crate) state: Option<&'a HeaderValue>,
    pub(crate) resend_count: u32,
    pub(crate) server: Option<&'a Authority>,
}

impl<'a> SpanStart<'a> {
    /// Returns the ids of the new span. Its flags have the decision.
    #[must_use]
    pub const fn ids(&self) -> TraceIds {
        self.ids
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.ids.is_sampled()
    }

    /// Returns the ids of the span around this one; `None` if the trace begins here.
    #[must_use]
    pub const fn parent(&self) -> Option<TraceIds> {
        self.parent
    }

    /// Whether the parent is a span of another process.
    #[must_use]
    pub const fn is_parent_remote(&self) -> bool {
        self.is_remote
    }

    /// Returns the caller's context, where it is not trusted: a link of the new trace.
    #[must_use]
    pub const fn link(&self) -> Option<&'a TraceContext> {
        self.link
    }

    /// Returns the valid `tracestate` of the trace.
    #[must_use]
    pub const fn state(&self) -> Option<&'a HeaderValue> {
        self.state
    }

    /// Returns how often the request was sent before, if it goes out and is
    /// [counted](crate::RetryCountLayer).
    #[must_use]
    pub const fn resend_count(&self) -> u32 {
        self.resend_count
    }

    /// Returns the host and the port of the server that a request goes to, if it goes out: from its
    /// target, else as [configured](crate::ClientSpans::with_server), else from its header `host`.
    ///
    /// A target without a port has that of its scheme.
    #[must_use]
    pub fn server<'b, B>(&self, request: &'b Request<B>) -> Option<(&'b str, Option<u16>)>
    where
        'a: 'b,
    {
        let uri = request.uri();
        let Some(authority) = uri.authority().or(self.server) else {
            let host = request.headers().get(header::HOST)?.to_str().ok()?;
            let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
            // The colon may be one of an IPv6 address.
            return Some(match port.parse() {
                Ok(port) => (name, Some(port)),
                Err(_) => (host, None),
            });
        };
        let by_scheme = match uri.scheme_str() {
            Some("https") => Some(443),
            Some("http") => Some(80),
            _ => None,
        };
        Some((authority.host(), authority.port_u16().or(by_scheme)))
    }
}
