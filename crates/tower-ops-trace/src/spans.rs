use http::{Request, Response, StatusCode};
use tower_layer::Layer;
use tower_ops_observe::{Ending, Facts, Observe, ObserveLayer, ObserveService, Route};
use tracing::Span;
use tracing::field::{Empty, display};
use tracing::level_filters::LevelFilter;

/// Opens a span for every request that passes, and closes it with its body.
///
/// The span is named `request`, at level `INFO`, and has the fields
/// `http.request.method`, `url.scheme`, `http.route`, `request_id`,
/// `http.response.status_code`, `rpc.response.status_code` and `outcome`, as far
/// as they are known. It is the current span of the handler and of the body.
///
/// Costs next to nothing where no subscriber wants the span.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use http::{Request, Response};
/// use tower::{ServiceBuilder, ServiceExt};
/// use tower_ops_trace::TraceLayer;
///
/// let service = ServiceBuilder::new()
///     .layer(TraceLayer::new())
///     .service_fn(async |_: Request<()>| {
///         tracing::info!("stands in the request's span");
///         Ok::<_, std::convert::Infallible>(Response::new("hello".to_owned()))
///     });
/// service.oneshot(Request::new(())).await.unwrap();
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct TraceLayer(());

impl TraceLayer {
    /// A layer that opens spans.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = ObserveService<S, Spans>;

    fn layer(&self, inner: S) -> Self::Service {
        ObserveLayer::new(Spans::new()).layer(inner)
    }
}

/// The observer behind a [`TraceLayer`], to go into a tuple with others.
///
/// Put it after the one that assigns the request id, so that the span shows it.
#[derive(Clone, Debug, Default)]
pub struct Spans(());

impl Spans {
    /// An observer that opens spans.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl Observe for Spans {
    type Exchange = SpanExchange;

    fn on_request<B>(&self, _: &mut Request<B>, facts: &mut Facts) -> SpanExchange {
        // With nobody there to listen, even a disabled span costs hundreds of
        // instructions where tracing's `log` feature is on; axum turns it on.
        if LevelFilter::current() < LevelFilter::INFO {
            return SpanExchange {
                span: Span::none(),
                route: None,
                status: None,
            };
        }
        let span = tracing::info_span!(
            "request",
            http.request.method = facts.method().as_str(),
            url.scheme = facts.scheme(),
            http.route = Empty,
            request_id = Empty,
            http.response.status_code = Empty,
            rpc.response.status_code = Empty,
            outcome = Empty,
        );
        let mut exchange = SpanExchange {
            span,
            route: None,
            status: None,
        };
        if !exchange.span.is_disabled() {
            // Until the service answers, every gRPC method that is not known yet
            // is `_OTHER`, also one that is about to be learned.
            if facts.route() != Some(&Route::OTHER) {
                exchange.record_route(facts);
            }
            if let Some(Ok(id)) = facts.request_id().map(http::HeaderValue::to_str) {
                exchange.span.record("request_id", id);
            }
        }
        exchange
    }

    fn on_response<B>(
        &self,
        exchange: &mut SpanExchange,
        response: &mut Response<B>,
        facts: &mut Facts,
    ) {
        if !exchange.span.is_disabled() {
            exchange.record_route(facts);
            exchange.record_status(response.status());
        }
    }

    fn on_end(&self, exchange: &mut SpanExchange, ending: &Ending<'_>, facts: &Facts) {
        if exchange.span.is_disabled() {
            return;
        }
        exchange.record_route(facts);
        if let Some(status) = ending.status() {
            exchange.record_status(status);
        }
        if let Some(code) = ending.grpc_status() {
            exchange
                .span
                .record("rpc.response.status_code", code.as_str());
        }
        exchange.span.record("outcome", display(ending.outcome()));
        // The span closes when its last handle goes: tasks that the handler
        // spawned may hold it longer, this exchange does not.
        exchange.span = Span::none();
    }

    #[inline]
    fn in_scope<R>(&self, exchange: &mut SpanExchange, step: impl FnOnce() -> R) -> R {
        if exchange.span.is_none() {
            return step();
        }
        let _entered = exchange.span.enter();
        step()
    }
}

/// One exchange's part of [`Spans`].
#[derive(Debug)]
pub struct SpanExchange {
    span: Span,
    /// The route that the span shows.
    route: Option<Route>,
    /// The status that the span shows.
    status: Option<StatusCode>,
}

impl SpanExchange {
    /// Records the status, and again if the client gets another one than the
    /// service gave.
    fn record_status(&mut self, status: StatusCode) {
        if self.status != Some(status) {
            self.span
                .record("http.response.status_code", status.as_u16());
            self.status = Some(status);
        }
    }

    /// Records the route as soon as it is known, and again when a hook or the
    /// answer corrects it.
    fn record_route(&mut self, facts: &Facts) {
        if let Some(route) = facts.route()
            && self.route.as_ref() != Some(route)
        {
            self.span.record("http.route", route.as_str());
            self.route = Some(route.clone());
        }
    }
}
