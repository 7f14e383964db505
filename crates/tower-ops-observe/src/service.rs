use std::fmt;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::body::ResponseBody;
use crate::future::ResponseFuture;
use crate::life::{Life, Watch};
use crate::observe::Observe;
use crate::shared::Shared;

/// The service that an [`ObserveLayer`](crate::ObserveLayer) makes.
pub struct ObserveService<S, O: Observe> {
    inner: S,
    watch: Shared<Watch<O>>,
}

impl<S, O: Observe> ObserveService<S, O> {
    pub(crate) const fn new(inner: S, watch: Shared<Watch<O>>) -> Self {
        Self { inner, watch }
    }

    /// The service inside.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside, mutably.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Unwraps the service inside.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, O, B, R> Service<Request<B>> for ObserveService<S, O>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: 'static,
    B: 'static,
    R: Body,
    R::Data: 'static,
    R::Error: 'static,
    O: Observe,
{
    type Response = Response<ResponseBody<R, O>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, O>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let mut life = Life::begin(self.watch.local(), &mut request);
        let inner = life.step(|| self.inner.call(request));
        ResponseFuture::new(inner, life)
    }
}

impl<S: Clone, O: Observe> Clone for ObserveService<S, O> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            watch: self.watch.clone(),
        }
    }
}

impl<S: fmt::Debug, O: Observe> fmt::Debug for ObserveService<S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserveService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
