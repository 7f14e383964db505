use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::{Bytes, Incoming};
use tower_service::Service;

use crate::{Connection, connect_info};

/// The body of a request on the [`Server`](crate::Server): hyper's, and the
/// connection knows when a handler waits for it, so that a client that does not
/// send can be told from a handler that takes its time.
pub struct RequestBody {
    inner: Incoming,
    waits: Waits,
}

/// Says that a handler waits, and takes it back at the end. With HTTP/1 only: a
/// stream of HTTP/2 may be silent for long, as gRPC's are.
struct Waits(Option<Connection>);

impl Waits {
    fn note(&self, pending: bool) {
        let Some(connection) = &self.0 else { return };
        let record = &connection.record;
        if pending {
            record.reading.wait(record.stamp(), record.bytes_read());
        } else if record.reading.is_waiting() {
            record.reading.go_on();
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.note(false);
    }
}

impl RequestBody {
    fn new(inner: Incoming, version: Version) -> Self {
        let waits = version < Version::HTTP_2 && !inner.is_end_stream();
        Self {
            inner,
            waits: Waits(waits.then(Connection::current).flatten()),
        }
    }

    /// hyper's own, of which the connection knows no more.
    pub fn into_inner(self) -> Incoming {
        self.inner
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        self.waits.note(polled.is_pending());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestBody").field(&self.inner).finish()
    }
}

/// Gives the service such bodies.
#[derive(Clone)]
pub(crate) struct WithBody<S>(pub(crate) S);

impl<S> Service<Request<Incoming>> for WithBody<S>
where
    S: Service<Request<RequestBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        connect_info::insert(&mut request);
        let version = request.version();
        self.0
            .call(request.map(|body| RequestBody::new(body, version)))
    }
}
