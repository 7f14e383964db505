use std::fmt;

use tower_layer::Layer;
use tower_ops_observe::{ObserveLayer, ObserveService};

use crate::spans::Spans;
use crate::tracer::ExchangeTracer;

/// Opens a span for every request that passes, and closes it with its body.
///
/// Made by [`new`](Self::new) with the defaults of [`Spans`], or by [`Spans::into_layer`].
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
pub struct TraceLayer<T: ExchangeTracer = ()>(ObserveLayer<Spans<T>>);

impl TraceLayer {
    /// A layer that goes on with the caller's trace, opens spans, and logs nothing by itself.
    #[must_use]
    pub fn new() -> Self {
        Spans::new().into_layer()
    }
}

impl Default for TraceLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: ExchangeTracer> Clone for TraceLayer<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: ExchangeTracer> fmt::Debug for TraceLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TraceLayer").finish_non_exhaustive()
    }
}

impl<S, T: ExchangeTracer> Layer<S> for TraceLayer<T> {
    type Service = ObserveService<S, Spans<T>>;

    fn layer(&self, inner: S) -> Self::Service {
        self.0.layer(inner)
    }
}

impl<T: ExchangeTracer> From<Spans<T>> for TraceLayer<T> {
    fn from(spans: Spans<T>) -> Self {
        Self(ObserveLayer::new(spans))
    }
}
