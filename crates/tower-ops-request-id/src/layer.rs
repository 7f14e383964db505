use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use http::header::Entry;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response};
use tower_layer::Layer;
use tower_ops_observe::{
    Ending, Facts, Observe, ObserveLayer, ObserveService, RequestFacts, TraceIds,
};
use tracing::level_filters::LevelFilter;

use crate::generate::Generator;
use crate::id::{RequestId, X_REQUEST_ID};
use crate::inbound::Inbound;
use crate::traceparent::from_traceparent;

/// Gives every request an id, and shows it to everyone who asks.
///
/// The id that a request brings in `x-request-id` is kept if it is valid, and
/// replaced by a new one if not. From then on it stands in the request's headers,
/// in the response's headers, in the field `request_id` of the span around this
/// layer if there is one, in [`RequestId::current`], and, if you
/// [ask for it](Self::with_extension), in the request's extensions.
///
/// Costs no allocation of its own, beyond a buffer for every 30th id or so that is made.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use http::{Request, Response};
/// use tower::{ServiceBuilder, ServiceExt};
/// use tower_ops_request_id::{RequestId, RequestIdLayer};
///
/// let service = ServiceBuilder::new()
///     .layer(RequestIdLayer::new())
///     .service_fn(async |_: Request<()>| {
///         let id = RequestId::current().expect("set below the layer");
///         Ok::<_, std::convert::Infallible>(Response::new(id.to_string()))
///     });
/// let request = Request::builder().header("x-request-id", "abc").body(()).unwrap();
/// let response = service.oneshot(request).await.unwrap();
/// assert_eq!(response.headers()["x-request-id"], "abc");
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct RequestIdLayer {
    ids: RequestIds,
}

impl RequestIdLayer {
    /// Takes valid ids in `x-request-id`, makes UUIDs of version 4.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses another header, in the request and in the response.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName) -> Self {
        self.ids = self.ids.with_header(name);
        self
    }

    /// Makes new ids in another way.
    #[must_use]
    pub fn with_generator(mut self, generator: Generator) -> Self {
        self.ids = self.ids.with_generator(generator);
        self
    }

    /// Decides which inbound ids to take.
    #[must_use]
    pub fn with_inbound(mut self, inbound: Inbound) -> Self {
        self.ids = self.ids.with_inbound(inbound);
        self
    }

    /// Takes the trace id of a valid `traceparent` header ([W3C]) for a request
    /// that brings no id of its own, where the policy accepts inbound ids.
    ///
    /// [W3C]: https://www.w3.org/TR/trace-context/#traceparent-header
    #[must_use]
    pub fn with_traceparent_fallback(mut self) -> Self {
        self.ids = self.ids.with_traceparent_fallback();
        self
    }

    /// Puts the id into the request's extensions as well, as a [`RequestId`].
    ///
    /// For code that only has the request: handlers and inner layers find the id in
    /// [`RequestId::current`], in the headers, and as an extractor. Costs two allocations.
    #[must_use]
    pub fn with_extension(mut self) -> Self {
        self.ids = self.ids.with_extension();
        self
    }

    /// How many invalid inbound ids were replaced so far.
    #[must_use]
    pub fn invalid_count(&self) -> u64 {
        self.ids.invalid_count()
    }
}

impl<S> Layer<S> for RequestIdLayer {
    type Service = ObserveService<S, RequestIds>;

    fn layer(&self, inner: S) -> Self::Service {
        ObserveLayer::new(self.ids.clone()).layer(inner)
    }
}

/// The observer behind a [`RequestIdLayer`], to go into a tuple with others.
///
/// Put it first: the observers after it find the id in
/// [`Facts::request_id`].
#[derive(Clone, Debug)]
pub struct RequestIds {
    header: HeaderName,
    generator: Generator,
    inbound: Inbound,
    traceparent: bool,
    extension: bool,
    invalid: Arc<AtomicU64>,
}

impl RequestIds {
    /// Takes valid ids in `x-request-id`, makes UUIDs of version 4.
    #[must_use]
    pub fn new() -> Self {
        Self {
            header: X_REQUEST_ID,
            generator: Generator::default(),
            inbound: Inbound::default(),
            traceparent: false,
            extension: false,
            invalid: Arc::default(),
        }
    }

    /// Uses another header, in the request and in the response.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName) -> Self {
        self.header = name;
        self
    }

    /// Makes new ids in another way.
    #[must_use]
    pub fn with_generator(mut self, generator: Generator) -> Self {
        self.generator = generator;
        self
    }

    /// Decides which inbound ids to take.
    #[must_use]
    pub fn with_inbound(mut self, inbound: Inbound) -> Self {
        self.inbound = inbound;
        self
    }

    /// Falls back on the trace id of `traceparent`.
    #[must_use]
    pub fn with_traceparent_fallback(mut self) -> Self {
        self.traceparent = true;
        self
    }

    /// Puts the id into the request's extensions as well; see
    /// [`RequestIdLayer::with_extension`].
    #[must_use]
    pub const fn with_extension(mut self) -> Self {
        self.extension = true;
        self
    }

    /// How many invalid inbound ids were replaced so far.
    #[must_use]
    pub fn invalid_count(&self) -> u64 {
        self.invalid.load(Ordering::Relaxed)
    }

    /// Finds the request's id, or gives it a new one in its headers.
    pub(crate) fn assign<B>(&self, request: &mut Request<B>) -> Assigned {
        let outer = outer_id(request.headers());
        let headers = request.headers_mut();
        // An entry makes room for itself before it looks: of a full map, which is the
        // rule with an id that came in, it would copy every header for nothing.
        let inbound = if headers.len() == headers.capacity() || self.traceparent {
            only(headers.get_all(&self.header).iter())
        } else {
            match headers.entry(&self.header) {
                Entry::Occupied(entry) => only(entry.iter()),
                Entry::Vacant(entry) => {
                    let id = outer.unwrap_or_else(|| self.generator.generate());
                    entry.insert(id.as_header_value().clone());
                    return Assigned::new(id);
                }
            }
        };

        let accepted = self.inbound.accepts(request);
        let is_brought = inbound.is_some() && accepted;
        let valid = inbound
            .flatten()
            .filter(|_| accepted)
            .and_then(|value| RequestId::try_from(value).ok());
        if let Some(id) = valid {
            return Assigned::new(id);
        }
        if is_brought {
            self.invalid.fetch_add(1, Ordering::Relaxed);
        }
        let trace = (outer.is_none() && self.traceparent && accepted)
            .then(|| from_traceparent(request.headers()))
            .flatten();
        let (from_trace, trace_id) = trace.unzip();
        let id = outer
            .or(from_trace)
            .unwrap_or_else(|| self.generator.generate());
        request
            .headers_mut()
            .insert(self.header.clone(), id.as_header_value().clone());
        Assigned {
            id,
            replaced: is_brought,
            trace_id,
        }
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

/// What became of a request's id.
pub(crate) struct Assigned {
    pub(crate) id: RequestId,
    replaced: bool,
    trace_id: Option<u128>,
}

impl Assigned {
    const fn new(id: RequestId) -> Self {
        Self {
            id,
            replaced: false,
            trace_id: None,
        }
    }
}

impl Observe for RequestIds {
    type Exchange = RequestIdExchange;

    fn on_request<B>(&self, request: &mut Request<B>, facts: &mut Facts) -> RequestIdExchange {
        let Assigned {
            id,
            replaced,
            trace_id,
        } = self.assign(request);
        if replaced {
            facts.set_request_id_replaced();
        }
        if let Some(trace) = trace_id.and_then(|id| TraceIds::new(id, 0, 0)) {
            facts.set_trace_ids(trace);
        }
        if self.extension {
            extend(request.extensions_mut(), id.clone());
        }
        #[cfg(feature = "tower-http")]
        request
            .extensions_mut()
            .insert(tower_http::request_id::RequestId::new(
                id.as_header_value().clone(),
            ));
        // Spares a process without a subscriber the search for a span.
        if LevelFilter::current() != LevelFilter::OFF {
            tracing::Span::current().record("request_id", id.as_str());
        }
        facts.set_request_id(id.into());
        RequestIdExchange(())
    }

    fn on_response<B>(
        &self,
        _: &mut RequestIdExchange,
        response: &mut Response<B>,
        facts: &mut Facts,
    ) {
        if let Some(id) = facts.request_id() {
            response
                .headers_mut()
                .insert(self.header.clone(), id.clone());
        }
    }

    fn on_end(&self, _: &mut RequestIdExchange, _: &Ending<'_>, _: &Facts) {}
}

/// One exchange's part of [`RequestIds`].
#[derive(Debug)]
pub struct RequestIdExchange(());

/// Nothing if there is no value; `Some(None)` for several.
fn only<'a>(mut values: impl Iterator<Item = &'a HeaderValue>) -> Option<Option<HeaderValue>> {
    let first = values.next()?;
    Some(values.next().is_none().then(|| first.clone()))
}

/// The id that a layer further out has given this very request: then it stands in the headers,
/// whatever the name. A request that a handler makes has none of its own.
#[inline]
fn outer_id(headers: &HeaderMap) -> Option<RequestId> {
    let around = RequestFacts::current_request_id()?;
    let is_given = headers.values().any(|value| *value == around);
    is_given.then(|| RequestId::try_from(around).ok()).flatten()
}

/// Inserts the id so that the extensions will not have to grow again.
///
/// An empty map makes room for three entries with the first; axum alone adds
/// three more, and growing then costs more than everything else here. A clone of
/// a map has the room of its original, in a single allocation.
fn extend(extensions: &mut Extensions, id: RequestId) {
    static ROOMY: LazyLock<Extensions> = LazyLock::new(|| {
        let mut roomy = Extensions::new();
        roomy.insert([(); 0]);
        roomy.insert([(); 1]);
        roomy.insert([(); 2]);
        roomy.insert([(); 3]);
        roomy.clear();
        roomy
    });
    if extensions.is_empty() {
        extensions.clone_from(&ROOMY);
    }
    extensions.insert(id);
}
