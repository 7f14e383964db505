use std::task::{Context, Poll};

use tower_service::Service;

use crate::FromFn;

/// Panics in `call` unless this very instance was polled ready since its last call.
///
/// Put it under the layer being tested: a layer that calls a fresh clone, or calls twice for one
/// readiness, fails its test. A clone starts unready, whatever its original was.
///
/// # Examples
///
/// ```
/// use std::convert::Infallible;
/// use std::task::{Context, Poll, Waker};
///
/// use tower_ops_testing::Readied;
/// use tower_service::Service;
///
/// let mut service = Readied::from_fn(|n: u32| async move { Ok::<_, Infallible>(n + 1) })
///     .pending_readiness(1);
/// let mut cx = Context::from_waker(Waker::noop());
/// assert_eq!(service.poll_ready(&mut cx), Poll::Pending);
/// assert_eq!(service.poll_ready(&mut cx), Poll::Ready(Ok(())));
/// let response = service.call(1);
/// # drop(response);
/// ```
#[derive(Debug)]
pub struct Readied<S> {
    inner: S,
    ready: bool,
    pending: usize,
    pending_left: usize,
}

impl<S> Readied<S> {
    /// Wraps a service, unready at first.
    pub const fn new(inner: S) -> Self {
        Self {
            inner,
            ready: false,
            pending: 0,
            pending_left: 0,
        }
    }

    /// Answers `Pending`, having woken the task, to the first `times` polls for each readiness.
    ///
    /// The count starts again after every call and in every clone.
    #[must_use]
    pub const fn pending_readiness(mut self, times: usize) -> Self {
        self.pending = times;
        self.pending_left = times;
        self
    }
}

impl<F> Readied<FromFn<F>> {
    /// Wraps an async closure that takes the request and returns a `Result`.
    pub const fn from_fn(f: F) -> Self {
        Self::new(FromFn::new(f))
    }
}

impl<S, Request> Service<Request> for Readied<S>
where
    S: Service<Request>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if let Some(left) = self.pending_left.checked_sub(1) {
            self.pending_left = left;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let readiness = self.inner.poll_ready(cx);
        self.ready = matches!(readiness, Poll::Ready(Ok(())));
        readiness
    }

    fn call(&mut self, request: Request) -> S::Future {
        assert!(
            self.ready,
            "called a service that was not polled ready since its last call"
        );
        // Spent first, so that a panic of the inner service leaves no readiness behind.
        self.ready = false;
        self.pending_left = self.pending;
        self.inner.call(request)
    }
}

impl<S: Clone> Clone for Readied<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone()).pending_readiness(self.pending)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{Ready, ready};
    use std::task::Waker;

    use super::*;

    fn service() -> Readied<FromFn<impl Fn(u32) -> Ready<Result<u32, Infallible>> + Clone>> {
        Readied::from_fn(|n: u32| ready(Ok::<_, Infallible>(n)))
    }

    fn poll<S: Service<u32>>(service: &mut S) -> Poll<Result<(), S::Error>> {
        service.poll_ready(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_readied_call_is_forwarded() {
        let mut service = service();
        assert_eq!(poll(&mut service), Poll::Ready(Ok(())));
        assert_eq!(service.call(7).into_inner(), Ok(7));
    }

    #[test]
    #[should_panic(expected = "not polled ready")]
    fn an_unreadied_call_panics() {
        let _future = service().call(7);
    }

    #[test]
    #[should_panic(expected = "not polled ready")]
    fn one_readiness_is_one_call() {
        let mut service = service();
        assert!(poll(&mut service).is_ready());
        let _first = service.call(1);
        let _second = service.call(2);
    }

    #[test]
    #[should_panic(expected = "not polled ready")]
    fn a_clone_forgets_readiness() {
        let mut service = service();
        assert!(poll(&mut service).is_ready());
        let _future = service.clone().call(7);
    }

    #[test]
    #[should_panic(expected = "not polled ready")]
    fn failed_readiness_is_none() {
        #[derive(Debug)]
        struct Failing;
        impl Service<u32> for Failing {
            type Response = u32;
            type Error = &'static str;
            type Future = Ready<Result<u32, &'static str>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
                Poll::Ready(Err("broken"))
            }

            fn call(&mut self, n: u32) -> Self::Future {
                ready(Ok(n))
            }
        }

        let mut service = Readied::new(Failing);
        assert_eq!(poll(&mut service), Poll::Ready(Err("broken")));
        let _future = service.call(7);
    }

    #[test]
    fn pending_comes_before_each_readiness_and_in_each_clone() {
        let mut service = service().pending_readiness(2);
        for _ in 0..2 {
            assert!(poll(&mut service).is_pending());
            assert!(poll(&mut service).is_pending());
            assert!(poll(&mut service).is_ready());
            let _future = service.call(7);
        }
        assert!(poll(&mut service).is_pending());
        let mut clone = service.clone();
        assert!(poll(&mut clone).is_pending());
        assert!(poll(&mut clone).is_pending());
        assert!(poll(&mut clone).is_ready());
    }
}
