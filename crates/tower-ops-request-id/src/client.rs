use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, Request};
use tower_layer::Layer;
use tower_service::Service;

use crate::id::{RequestId, X_REQUEST_ID};

/// Sends the current request id along with outgoing requests.
///
/// For hyper-util's client, a tonic `Channel` and every other tower service
/// that takes an [`http::Request`]; with the feature `reqwest` for reqwest's client
/// and its own requests as well. A request that already has the header keeps
/// it; outside of any request nothing is sent. No allocation, no future of its
/// own.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use http::{Request, Response};
/// use tower::{ServiceBuilder, ServiceExt};
/// use tower_ops_request_id::{RequestId, RequestIdClientLayer};
///
/// let client = ServiceBuilder::new()
///     .layer(RequestIdClientLayer::new())
///     .service_fn(async |request: Request<()>| {
///         assert_eq!(request.headers()["x-request-id"], "order-7");
///         Ok::<_, std::convert::Infallible>(Response::new(()))
///     });
/// let id: RequestId = "order-7".parse().unwrap();
/// id.scope(async { client.oneshot(Request::new(())).await }).await.unwrap();
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RequestIdClientLayer {
    header: HeaderName,
}

impl RequestIdClientLayer {
    /// Sends the id in `x-request-id`.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            header: X_REQUEST_ID,
        }
    }

    /// Sends the id in another header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName) -> Self {
        self.header = name;
        self
    }
}

impl Default for RequestIdClientLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for RequestIdClientLayer {
    type Service = RequestIdClient<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestIdClient {
            inner,
            header: self.header.clone(),
        }
    }
}

/// The client that a [`RequestIdClientLayer`] makes.
#[derive(Clone, Debug)]
pub struct RequestIdClient<S> {
    inner: S,
    header: HeaderName,
}

/// A request that has headers to put an id into.
///
/// Sealed: [`http::Request`], and reqwest's with the feature `reqwest`.
pub trait OutgoingRequest: sealed::HasHeaders {}

impl<R: sealed::HasHeaders> OutgoingRequest for R {}

mod sealed {
    use http::HeaderMap;

    #[allow(unnameable_types, reason = "sealed")]
    pub trait HasHeaders {
        fn headers_mut(&mut self) -> &mut HeaderMap;
    }
}

impl<B> sealed::HasHeaders for Request<B> {
    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }
}

#[cfg(feature = "reqwest")]
impl sealed::HasHeaders for reqwest::Request {
    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }
}

impl<S, R> Service<R> for RequestIdClient<S>
where
    S: Service<R>,
    R: OutgoingRequest,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: R) -> Self::Future {
        if let Some(id) = RequestId::current() {
            let headers = sealed::HasHeaders::headers_mut(&mut request);
            if !headers.contains_key(&self.header) {
                headers.insert(self.header.clone(), id.into());
            }
        }
        self.inner.call(request)
    }
}
