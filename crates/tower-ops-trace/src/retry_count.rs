use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;

/// Lets the spans of a [`ClientTraceLayer`](crate::ClientTraceLayer) know how often a request was sent before:
/// `http.request.resend_count`.
///
/// Goes around what sends again, which must clone the request with its extensions, as
/// [`http::Request`]'s `Clone` does. Costs two allocations a request.
///
/// # Examples
///
/// ```no_run
/// # use http::{Request, Response};
/// # use tower::{ServiceBuilder, retry::{Policy, RetryLayer}};
/// use tower_ops_trace::{ClientTraceLayer, RetryCountLayer};
///
/// # fn stack<P>(policy: P) {
/// let stack = ServiceBuilder::new()
///     .layer(RetryCountLayer::new())
///     .layer(RetryLayer::new(policy))
///     .layer(ClientTraceLayer::new());
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RetryCountLayer(());

impl RetryCountLayer {
    /// Counts the attempts of every request that passes.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for RetryCountLayer {
    type Service = RetryCount<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RetryCount { inner }
    }
}

/// The client that a [`RetryCountLayer`] makes.
#[derive(Clone, Debug)]
pub struct RetryCount<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for RetryCount<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(Attempts(Arc::default()));
        self.inner.call(request)
    }
}

/// In the extensions of a request that may be sent again.
#[derive(Clone, Debug)]
struct Attempts(Arc<AtomicU32>);

/// How often the request was sent before.
pub(crate) fn count_attempt<B>(request: &Request<B>) -> u32 {
    let attempts = request.extensions().get::<Attempts>();
    attempts.map_or(0, |attempts| attempts.0.fetch_add(1, Ordering::Relaxed))
}
