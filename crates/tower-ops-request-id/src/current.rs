use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::task::JoinHandle;

use crate::id::RequestId;

thread_local! {
    static CURRENT: RefCell<Option<RequestId>> = const { RefCell::new(None) };
}

pub(crate) fn get() -> Option<RequestId> {
    CURRENT
        .try_with(|slot| slot.borrow().clone())
        .ok()
        .flatten()
}

pub(crate) fn is_set() -> bool {
    CURRENT
        .try_with(|slot| slot.borrow().is_some())
        .unwrap_or(false)
}

/// Swaps the id with the current one for as long as it lives, and back, also
/// when the step in between unwinds. A swap and not a clone: no count is touched.
pub(crate) struct Swap<'a>(&'a mut Option<RequestId>);

impl<'a> Swap<'a> {
    pub(crate) fn enter(id: &'a mut Option<RequestId>) -> Self {
        swap(id);
        Self(id)
    }
}

impl Drop for Swap<'_> {
    fn drop(&mut self) {
        swap(self.0);
    }
}

fn swap(id: &mut Option<RequestId>) {
    // An error means that the thread is ending: nobody will ask any more.
    let _ = CURRENT.try_with(|slot| std::mem::swap(&mut *slot.borrow_mut(), id));
}

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
        id: Option<RequestId>,
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _current = Swap::enter(this.id);
            this.inner.set(None);
        }
    }
}

impl<F> Scoped<F> {
    pub(crate) const fn new(id: Option<RequestId>, inner: F) -> Self {
        Self {
            inner: Some(inner),
            id,
        }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _current = Swap::enter(this.id);
        let inner = this.inner.as_pin_mut();
        inner.expect("it is there until the drop").poll(cx)
    }
}

impl<F> fmt::Debug for Scoped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
