use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

/// Makes a service, ready at any time, from an async closure; see [`Readied::from_fn`].
///
/// [`Readied::from_fn`]: crate::Readied::from_fn
#[derive(Clone, Copy)]
pub struct FromFn<F> {
    f: F,
}

impl<F> FromFn<F> {
    pub(crate) const fn new(f: F) -> Self {
        Self { f }
    }
}

impl<F, Request, Fut, Response, Error> Service<Request> for FromFn<F>
where
    F: FnMut(Request) -> Fut,
    Fut: Future<Output = Result<Response, Error>>,
{
    type Response = Response;
    type Error = Error;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Fut {
        (self.f)(request)
    }
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFn").finish_non_exhaustive()
    }
}
