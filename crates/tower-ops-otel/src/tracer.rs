//! The span of an exchange, straight through the SDK.

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Request, Version};
use opentelemetry::trace::{Link, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, Key, KeyValue, StringValue};
use tower_ops_observe::{Ending, Facts, KnownMethod, RequestFacts, Route, Side, original_path};
use tower_ops_trace::{
    ErrorType, ExchangeTracer, SpanContext, SpanName, SpanStart, SpanStatus, TraceContext,
    truncated,
};
use tracing::Span;

use crate::decided::with_decided;
use crate::scope;
use crate::span_context::{self, to_otel};
use crate::telemetry::{Shared, Telemetry};

/// Makes a span of OpenTelemetry for every exchange, for
/// [`Spans::with_tracer`](tower_ops_trace::Spans::with_tracer) and
/// [`ClientSpans::with_tracer`](tower_ops_trace::ClientSpans::with_tracer).
///
/// With the ids that the exchange has, and the attributes by the conventions for HTTP and RPC. What
/// handlers trace stands below it, by [`Telemetry::layer`]. It propagates in the formats of
/// `OTEL_PROPAGATORS`, also where nothing is exported.
///
/// Does not keep the telemetry alive. An exchange that is not recorded costs one allocation.
#[derive(Clone)]
pub struct SpanTracer {
    shared: Arc<Shared>,
}

impl Telemetry {
    /// Returns the tracer for [`Spans`](tower_ops_trace::Spans) and
    /// [`ClientSpans`](tower_ops_trace::ClientSpans). [Checks](Self::check) the subscriber when
    /// the first exchange begins.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_ops_otel::Telemetry;
    /// use tower_ops_trace::Spans;
    ///
    /// let telemetry = Telemetry::builder("orders", "1.4.2").start()?;
    /// let layer = Spans::new()
    ///     .with_sampling(telemetry.sampling())
    ///     .with_tracer(telemetry.tracer())
    ///     .into_layer();
    /// # let _ = layer;
    /// # Ok::<(), tower_ops_otel::ConfigError>(())
    /// ```
    #[must_use]
    pub fn tracer(&self) -> SpanTracer {
        SpanTracer {
            shared: Arc::clone(self.shared()),
        }
    }
}

impl fmt::Debug for SpanTracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanTracer").finish_non_exhaustive()
    }
}

/// One exchange's part of [`SpanTracer`].
#[derive(Debug)]
pub struct ExchangeSpan {
    context: Context,
    is_recorded: bool,
    /// Whether the layer of the subscriber makes the context current.
    is_taken: bool,
}

/// Room for what a span gets until its end.
const ATTRIBUTES: usize = 14;

impl SpanTracer {
    fn record<B>(
        &self,
        start: &SpanStart<'_>,
        request: &Request<B>,
        facts: &Facts,
    ) -> Option<Context> {
        let tracer = self.shared.tracer.as_ref().filter(|_| start.is_sampled())?;
        let is_client = facts.side() == Side::Client;
        let mut attributes = Vec::with_capacity(ATTRIBUTES);
        if is_client {
            outgoing(start, request, facts, &mut attributes);
        } else {
            incoming(request, facts, &mut attributes);
        }
        let mut builder = SpanBuilder::default();
        if is_client {
            builder.name = SpanName::outgoing(facts, request).to_string().into();
        }
        builder.span_kind = Some(if is_client {
            SpanKind::Client
        } else {
            SpanKind::Server
        });
        builder.attributes = Some(attributes);
        if let Some(link) = start.link() {
            let state = link.state().map(|state| state.as_str());
            let context = to_otel(link.ids(), true, state);
            builder.links = Some(vec![Link::new(context, Vec::new(), 0)]);
        }
        let parent = match start.parent() {
            Some(parent) => {
                let state = start.state().and_then(|state| state.to_str().ok());
                let context = to_otel(parent, start.is_parent_remote(), state);
                Context::new().with_remote_span_context(context)
            }
            None => Context::new(),
        };
        let span = with_decided(start.ids(), || tracer.build_with_context(builder, &parent));
        Some(Context::new().with_span(span))
    }
}

impl ExchangeTracer for SpanTracer {
    type Exchange = ExchangeSpan;

    #[inline]
    fn extract(&self, headers: &HeaderMap) -> Option<TraceContext> {
        self.shared.propagation.extract(headers)
    }

    fn inject(&self, context: &SpanContext<'_>, headers: &mut HeaderMap) {
        let propagation = &self.shared.propagation;
        if propagation.is_w3c_alone() {
            context.inject(headers);
        } else {
            let state = context.state().and_then(tower_ops_trace::TraceState::parse);
            propagation.inject(&TraceContext::new(context.ids(), state), headers);
        }
        propagation.inject_baggage(headers);
    }

    fn current(&self) -> Option<TraceContext> {
        let current = Context::map_current(span_context::of)?;
        // The SDK does not know the random flag of a trace that begins here.
        let own = RequestFacts::current_trace_ids();
        let ids = current.ids();
        match own.filter(|own| own.trace_id() == ids.trace_id()) {
            Some(own) => {
                let random = own.flags() & tower_ops_observe::TraceIds::RANDOM;
                let state = current.state().cloned();
                Some(TraceContext::new(
                    ids.with_flags(ids.flags() | random),
                    state,
                ))
            }
            None => Some(current),
        }
    }

    fn begin<B>(&self, start: &SpanStart<'_>, request: &Request<B>, facts: &Facts) -> ExchangeSpan {
        self.shared.check();
        let recorded = self.record(start, request, facts);
        let is_recorded = recorded.is_some();
        let mut context = recorded.unwrap_or_else(|| {
            // What is below it is not recorded either, and goes out with these ids.
            let state = start.state().and_then(|state| state.to_str().ok());
            Context::new().with_remote_span_context(to_otel(start.ids(), false, state))
        });
        // Of a caller that is trusted, and known by its context.
        if start.is_parent_remote() {
            context = self
                .shared
                .propagation
                .with_baggage(context, request.headers());
        }
        ExchangeSpan {
            context,
            is_recorded,
            is_taken: false,
        }
    }

    fn open(&self, exchange: &mut ExchangeSpan, make: impl FnOnce() -> Span) -> Span {
        scope::hand_over(exchange.context.clone());
        let span = make();
        exchange.is_taken = scope::take_back().is_none();
        span
    }

    #[inline]
    fn in_scope<R>(&self, exchange: &mut ExchangeSpan, step: impl FnOnce() -> R) -> R {
        if exchange.is_taken {
            return step();
        }
        let _current = exchange.context.clone().attach();
        step()
    }

    fn end(
        &self,
        exchange: &mut ExchangeSpan,
        ending: &Ending<'_>,
        facts: &Facts,
        status: SpanStatus,
    ) {
        if !exchange.is_recorded {
            return;
        }
        let span = exchange.context.span();
        let rpc = facts.is_grpc();
        let is_server = facts.side() == Side::Server;
        if is_server {
            span.update_name(name(facts));
        }
        let route = facts
            .route()
            .filter(|route| is_server && **route != Route::OTHER);
        let route = route.map(|route| {
            let key = if rpc { "rpc.method" } else { "http.route" };
            KeyValue::new(key, route.as_str().to_owned())
        });
        let system = (rpc && is_server).then(|| KeyValue::new("rpc.system.name", "grpc"));
        let http = ending
            .status()
            .map(|status| KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        let grpc = ending
            .grpc_status()
            .map(|code| KeyValue::new("rpc.response.status_code", code.as_str()));
        let error = status
            .error_type()
            .map(|kind| KeyValue::new("error.type", error_type(&kind)));
        let all = [route, system, http, grpc, error];
        span.set_attributes(all.into_iter().flatten());
        if status.is_error() {
            span.set_status(Status::error(""));
        }
        // A task that was spawned may hold the context longer: it does not hold the span open.
        span.end();
    }
}

/// As [`SpanName::incoming`], without the formatter where the route is known.
fn name(facts: &Facts) -> String {
    match facts.route().filter(|route| **route != Route::OTHER) {
        Some(route) if facts.is_grpc() => route.as_str().to_owned(),
        Some(route) if facts.method() != KnownMethod::Other => {
            [facts.method().as_str(), " ", route.as_str()].concat()
        }
        _ => SpanName::incoming(facts).to_string(),
    }
}

/// An address as text. A connection has many requests, so this thread has most likely just written
/// it: to format one costs as much as three attributes.
fn address(ip: IpAddr) -> Arc<str> {
    const PLACES: usize = 16;
    type Written = [Option<(IpAddr, Arc<str>)>; PLACES];
    thread_local! {
        static WRITTEN: RefCell<Written> = const { RefCell::new([const { None }; PLACES]) };
    }
    let last = match ip {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(ip) => ip.octets()[15],
    };
    let find = |written: &RefCell<Written>| {
        let place = &mut written.borrow_mut()[usize::from(last) % PLACES];
        match place {
            Some((known, text)) if *known == ip => Arc::clone(text),
            _ => {
                let text = Arc::<str>::from(ip.to_string());
                *place = Some((ip, Arc::clone(&text)));
                text
            }
        }
    };
    // An error means that the thread is ending.
    WRITTEN
        .try_with(find)
        .unwrap_or_else(|_| ip.to_string().into())
}

fn error_type(kind: &ErrorType) -> StringValue {
    match kind {
        ErrorType::Grpc(code) => code.as_str().into(),
        ErrorType::Outcome(outcome) => outcome.as_str().into(),
        other => other.as_str().to_owned().into(),
    }
}

fn incoming<B>(request: &Request<B>, facts: &Facts, attributes: &mut Vec<KeyValue>) {
    attributes.push(method(facts));
    attributes.push(KeyValue::new("url.scheme", facts.scheme()));
    if !facts.is_grpc() {
        let path = truncated(original_path(request));
        attributes.push(KeyValue::new("url.path", path.to_owned()));
    }
    attributes.extend(version(facts));
    if let Some(peer) = facts.peer() {
        attributes.push(KeyValue::new("client.address", address(peer.ip())));
    }
}

fn outgoing<B>(
    start: &SpanStart<'_>,
    request: &Request<B>,
    facts: &Facts,
    attributes: &mut Vec<KeyValue>,
) {
    let uri = request.uri();
    attributes.push(method(facts));
    if facts.is_grpc() {
        attributes.push(KeyValue::new("rpc.system.name", "grpc"));
        let path = uri.path();
        let called = path.strip_prefix('/').unwrap_or(path);
        attributes.push(KeyValue::new("rpc.method", truncated(called).to_owned()));
    }
    if let Some((host, port)) = start.server(request) {
        attributes.push(KeyValue::new("server.address", host.to_owned()));
        attributes.extend(port.map(|port| KeyValue::new("server.port", i64::from(port))));
    }
    if let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority())
        && !facts.is_grpc()
    {
        // Neither a password nor a query.
        let port = authority.port_u16();
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        let url = format!(
            "{scheme}://{}{port}{}",
            authority.host(),
            truncated(uri.path())
        );
        attributes.push(KeyValue::new("url.full", url));
    }
    attributes.extend(version(facts));
    if start.resend_count() > 0 {
        let count = i64::from(start.resend_count());
        attributes.push(KeyValue::new("http.request.resend_count", count));
    }
}

fn method(facts: &Facts) -> KeyValue {
    KeyValue::new("http.request.method", facts.method().as_str())
}

fn version(facts: &Facts) -> Option<KeyValue> {
    let version = match facts.version() {
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => return None,
    };
    Some(KeyValue::new(
        Key::from_static_str("network.protocol.version"),
        version,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_same_however_often_it_is_written() {
        // The first two have the same place.
        let addresses = ["192.0.2.1", "198.51.100.17", "2001:db8::1"];
        for _ in 0..3 {
            for text in addresses {
                assert_eq!(&*address(text.parse().unwrap()), text);
            }
        }
    }
}
