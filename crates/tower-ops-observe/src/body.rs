use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::life::Life;
use crate::observe::Observe;

pin_project! {
    /// The body of a response whose exchange is watched.
    ///
    /// Frames, trailers, `is_end_stream` and `size_hint` pass unchanged.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends the exchange: as completed if all announced bytes were
    /// taken, as panicked if the body unwound, else as cancelled during the body.
    pub struct ResponseBody<B, O>
    where
        O: Observe,
    {
        // An option for the same reason as in `ResponseFuture`; it is `Some`
        // until the drop, or until the deadline of a gRPC call.
        #[pin]
        inner: Option<B>,
        life: Option<Life<O>>,
    }

    impl<B, O> PinnedDrop for ResponseBody<B, O>
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

impl<B, O: Observe> ResponseBody<B, O> {
    pub(crate) const fn new(inner: B, life: Option<Life<O>>) -> Self {
        Self {
            inner: Some(inner),
            life,
        }
    }

    /// That of an answer in the service's place: a head alone.
    pub(crate) const fn ended() -> Self {
        Self {
            inner: None,
            life: None,
        }
    }
}

impl<B: Default, O: Observe> Default for ResponseBody<B, O> {
    /// A body that belongs to no exchange.
    fn default() -> Self {
        Self::new(B::default(), None)
    }
}

impl<B, O> Body for ResponseBody<B, O>
where
    B: Body,
    B::Data: 'static,
    B::Error: 'static,
    O: Observe,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let Some(mut inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let Some(life) = this.life.as_mut() else {
            return inner.poll_frame(cx);
        };
        // First: a stream that always has something is ended as well.
        if let Some(deadline) = life.overdue(cx) {
            life.in_scope(|| this.inner.set(None));
            let last = deadline.last_frame();
            if let Some(frame) = &last {
                life.frame(frame);
            }
            life.complete();
            *this.life = None;
            return Poll::Ready(last.map(Ok));
        }
        let frame = ready!(life.step(|| inner.as_mut().poll_frame(cx)));
        match &frame {
            Some(Ok(frame)) => {
                life.frame(frame);
                // A transport that sees the flag does not poll again.
                if frame.is_data() && inner.is_end_stream() {
                    life.complete();
                }
            }
            Some(Err(error)) => life.fail_body(error),
            None => life.complete(),
        }
        if life.has_ended() {
            *this.life = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Some(_) if self.life.as_ref().is_some_and(Life::has_deadline) => SizeHint::default(),
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl<B: fmt::Debug, O: Observe> fmt::Debug for ResponseBody<B, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
