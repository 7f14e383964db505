use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use crate::body::ResponseBody;
use crate::life::Life;
use crate::observe::Observe;

pin_project! {
    /// The future of a response whose exchange is watched.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends the exchange: as cancelled before the head, or as
    /// panicked if the service's future unwound.
    pub struct ResponseFuture<F, O>
    where
        O: Observe,
    {
        // An option, so that it can be dropped in the exchange's scope: what it
        // logs when it is cancelled belongs to the exchange as well.
        #[pin]
        inner: Option<F>,
        life: Option<Life<O>>,
    }

    impl<F, O> PinnedDrop for ResponseFuture<F, O>
    where
        O: Observe,
    {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let Some(life) = this.life {
                life.in_scope(|| this.inner.set(None));
            }
        }
    }
}

impl<F, O: Observe> ResponseFuture<F, O> {
    pub(crate) const fn new(inner: F, life: Life<O>) -> Self {
        Self {
            inner: Some(inner),
            life: Some(life),
        }
    }
}

impl<F, O, R, E> Future for ResponseFuture<F, O>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
    E: 'static,
    O: Observe,
{
    type Output = Result<Response<ResponseBody<R, O>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (Some(inner), Some(life)) = (this.inner.as_mut().as_pin_mut(), this.life.as_mut())
        else {
            panic!("a ResponseFuture was polled after it had completed");
        };
        let Poll::Ready(result) = life.step(|| inner.poll(cx)) else {
            let deadline = ready!(life.overdue(cx).map_or(Poll::Pending, Poll::Ready));
            life.in_scope(|| this.inner.set(None));
            let mut answer = deadline.answer();
            life.head(&mut answer);
            *this.life = None;
            return Poll::Ready(Ok(answer.map(|_| ResponseBody::ended())));
        };
        match result {
            Ok(mut response) => {
                life.head(&mut response);
                let life = this.life.take().filter(|life| !life.has_ended());
                Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, life))))
            }
            Err(error) => {
                life.fail(&error);
                *this.life = None;
                Poll::Ready(Err(error))
            }
        }
    }
}

impl<F, O: Observe> fmt::Debug for ResponseFuture<F, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
