use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_ops_observe::TraceScope;

use crate::context::TraceContext;

pin_project! {
    /// A future that runs, and is dropped, with a trace as the current one. Made by
    /// [`TraceContext::scope`].
    #[must_use = "futures do nothing unless polled"]
    pub struct TraceScoped<F> {
        // An option, so that it can be dropped in the scope. It is `Some` until the drop.
        #[pin]
        inner: Option<F>,
        scope: TraceScope,
    }

    impl<F> PinnedDrop for TraceScoped<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            this.scope.enter(|| this.inner.set(None));
        }
    }
}

impl<F> TraceScoped<F> {
    pub(crate) fn new(context: TraceContext, inner: F) -> Self {
        let (ids, state) = context.into_parts();
        Self {
            inner: Some(inner),
            scope: TraceScope::new(Some(ids), state),
        }
    }
}

impl<F: Future> Future for TraceScoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let inner = this.inner.as_pin_mut();
        let inner = inner.expect("it is there until the drop");
        this.scope.enter(|| inner.poll(cx))
    }
}

impl<F> fmt::Debug for TraceScoped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceScoped").finish_non_exhaustive()
    }
}
