use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::task::JoinHandle;
use tower_ops_observe::RequestIdScope;

use crate::id::RequestId;

/// Spawns a task that keeps the current request id.
///
/// As [`tokio::spawn`], which forgets it.
///
/// # Panics
///
/// Outside of a tokio runtime, as `tokio::spawn` does.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use tower_ops_request_id::{RequestId, spawn};
///
/// let id: RequestId = "order-7".parse().unwrap();
/// let seen = id
///     .clone()
///     .scope(async { spawn(async { RequestId::current() }).await.unwrap() })
///     .await;
/// assert_eq!(seen, Some(id));
/// # }
/// ```
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(Scoped::new(RequestId::current(), future))
}

pin_project! {
    /// A future that runs, and is dropped, with a request id as the current one.
    /// Made by [`RequestId::scope`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<F> {
        // An option, so that it can be dropped in the scope: what it logs when it
        // is cancelled belongs to the id as well. It is `Some` until the drop.
        #[pin]
        inner: Option<F>,
        scope: RequestIdScope,
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            this.scope.enter(|| this.inner.set(None));
        }
    }
}

impl<F> Scoped<F> {
    pub(crate) fn new(id: Option<RequestId>, inner: F) -> Self {
        Self {
            inner: Some(inner),
            scope: RequestIdScope::new(id.map(Into::into)),
        }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let inner = this.inner.as_pin_mut();
        let inner = inner.expect("it is there until the drop");
        this.scope.enter(|| inner.poll(cx))
    }
}

impl<F> fmt::Debug for Scoped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped")
            .field("id", &self.scope.id())
            .finish_non_exhaustive()
    }
}
