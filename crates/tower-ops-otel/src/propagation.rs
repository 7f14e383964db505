//! How a context travels in headers.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, global};
use opentelemetry_sdk::propagation::BaggagePropagator;
use tower_ops_observe::TraceIds;
use tower_ops_trace::{Ratio, TraceContext};

use crate::settings::Format;
use crate::span_context;

mod b3;

/// The formats that are chosen. Only what is well-formed is taken in.
#[derive(Clone, Debug)]
pub(crate) struct Propagation {
    formats: Vec<Format>,
    fields: Vec<String>,
    /// Whether the W3C's trace context is the first choice, as nearly everywhere.
    prefers_w3c: bool,
    has_baggage: bool,
    /// Of traces about which a caller has not decided, as B3 allows.
    ratio: Ratio,
}

static BAGGAGE: LazyLock<BaggagePropagator> = LazyLock::new(BaggagePropagator::new);

const BAGGAGE_HEADER: HeaderName = HeaderName::from_static("baggage");

impl Propagation {
    pub(crate) fn new(formats: &[Format], ratio: Ratio) -> Self {
        let fields = formats.iter().flat_map(|format| match format {
            Format::TraceContext => &["traceparent", "tracestate"][..],
            Format::Baggage => &["baggage"][..],
            Format::B3 => &["b3"][..],
            Format::B3Multi => &b3::MULTI[..],
        });
        let first = formats.iter().find(|&&format| format != Format::Baggage);
        Self {
            formats: formats.to_vec(),
            prefers_w3c: first == Some(&Format::TraceContext),
            has_baggage: formats.contains(&Format::Baggage),
            fields: fields.map(|&field| field.to_owned()).collect(),
            ratio,
        }
    }

    /// The caller's context: of the first format, in the order chosen, that has a valid one.
    #[inline]
    pub(crate) fn extract(&self, headers: &HeaderMap) -> Option<TraceContext> {
        if self.prefers_w3c {
            let context = TraceContext::extract(headers);
            if context.is_some() || self.is_w3c_alone() {
                return context;
            }
        }
        self.extract_any(headers)
    }

    #[inline(never)]
    fn extract_any(&self, headers: &HeaderMap) -> Option<TraceContext> {
        self.formats.iter().find_map(|format| match format {
            Format::TraceContext => TraceContext::extract(headers),
            Format::B3 => b3::single(headers, self.ratio).map(without_state),
            Format::B3Multi => b3::multi(headers, self.ratio).map(without_state),
            Format::Baggage => None,
        })
    }

    /// Writes the context into the headers, in all formats.
    pub(crate) fn inject(&self, context: &TraceContext, headers: &mut HeaderMap) {
        for format in &self.formats {
            match format {
                Format::TraceContext => context.inject(headers),
                Format::B3 => b3::set_single(context.ids(), headers),
                Format::B3Multi => b3::set_multi(context.ids(), headers),
                Format::Baggage => {}
            }
        }
    }

    pub(crate) fn is_w3c_alone(&self) -> bool {
        let mut formats = self
            .formats
            .iter()
            .filter(|&&format| format != Format::Baggage);
        formats.next() == Some(&Format::TraceContext) && formats.next().is_none()
    }

    /// The context with the baggage of the headers.
    #[inline]
    pub(crate) fn with_baggage(&self, context: Context, headers: &HeaderMap) -> Context {
        // To look through a few names costs less than to hash one.
        if self.has_baggage && headers.keys().any(|name| *name == BAGGAGE_HEADER) {
            BAGGAGE.extract_with_context(&context, &HeaderExtractor(headers))
        } else {
            context
        }
    }

    /// Writes the baggage of the current context into the headers.
    pub(crate) fn inject_baggage(&self, headers: &mut HeaderMap) {
        if self.has_baggage {
            Context::map_current(|current| {
                if !current.baggage().is_empty() {
                    BAGGAGE.inject_context(current, &mut HeaderInjector(headers));
                }
            });
        }
    }
}

const fn without_state(ids: TraceIds) -> TraceContext {
    TraceContext::new(ids, None)
}

/// For code that uses OpenTelemetry's global propagator.
impl TextMapPropagator for Propagation {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        let mut headers = HeaderMap::new();
        if let Some(context) = span_context::of(cx) {
            self.inject(&context, &mut headers);
        }
        for (name, value) in &headers {
            if let Ok(value) = value.to_str() {
                injector.set(name.as_str(), value.to_owned());
            }
        }
        if self.has_baggage {
            BAGGAGE.inject_context(cx, injector);
        }
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        let mut headers = HeaderMap::new();
        for field in &self.fields {
            let name = HeaderName::try_from(field.as_str());
            for value in extractor.get_all(field).unwrap_or_default() {
                if let (Ok(name), Ok(value)) = (&name, HeaderValue::from_str(value)) {
                    headers.append(name, value);
                }
            }
        }
        let context = match self.extract(&headers) {
            Some(caller) => {
                let state = caller.state().map(|state| state.as_str());
                cx.with_remote_span_context(span_context::to_otel(caller.ids(), true, state))
            }
            None => cx.clone(),
        };
        self.with_baggage(context, &headers)
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&self.fields)
    }
}

struct HeaderExtractor<'a>(&'a HeaderMap);

impl Extractor for HeaderExtractor<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }

    fn get_all(&self, key: &str) -> Option<Vec<&str>> {
        let all = self.0.get_all(key).iter();
        let all: Vec<_> = all
            .map(HeaderValue::to_str)
            .collect::<Result<_, _>>()
            .ok()?;
        (!all.is_empty()).then_some(all)
    }
}

struct HeaderInjector<'a>(&'a mut HeaderMap);

impl Injector for HeaderInjector<'_> {
    fn set(&mut self, key: &str, value: String) {
        let pair = HeaderName::try_from(key)
            .ok()
            .zip(HeaderValue::try_from(value).ok());
        if let Some((key, value)) = pair {
            self.0.insert(key, value);
        }
    }
}

/// Writes the current context into the headers of a request that goes out, in the formats of
/// `OTEL_PROPAGATORS`.
///
/// For clients that are not behind a layer of tower-ops-trace. For gRPC, `metadata.as_mut()` has the
/// headers. Does nothing where no telemetry was started.
///
/// # Examples
///
/// ```
/// let mut request = http::Request::new(());
/// tower_ops_otel::inject_context(request.headers_mut());
/// ```
pub fn inject_context(headers: &mut HeaderMap) {
    global::get_text_map_propagator(|propagator| {
        propagator.inject(&mut HeaderInjector(headers));
    });
}

/// Reads the caller's context out of headers, in the formats of `OTEL_PROPAGATORS`, such as those of
/// a message from a queue.
///
/// The current context where there is none, or where no telemetry was started.
///
/// # Examples
///
/// ```
/// use tower_ops_otel::opentelemetry::trace::FutureExt;
///
/// # async fn handle() {}
/// # async fn run(headers: http::HeaderMap) {
/// let caller = tower_ops_otel::extract_context(&headers);
/// tower_ops_otel::in_span("handle message", handle()).with_context(caller).await;
/// # }
/// ```
#[must_use]
pub fn extract_context(headers: &HeaderMap) -> Context {
    global::get_text_map_propagator(|propagator| propagator.extract(&HeaderExtractor(headers)))
}

#[cfg(test)]
mod tests;
