use std::task::{Context, Poll};

use http::{HeaderName, Request};
use tower_layer::Layer;
use tower_service::Service;

use crate::id::{RequestId, X_REQUEST_ID};

/// Sends the current request id along with outgoing requests.
///
/// For hyper-util's client, a tonic `Channel` and every other tower service
/// that takes an [`http::Request`]. A request that already has the header keeps
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

impl<S, B> Service<Request<B>> for RequestIdClient<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(id) = RequestId::current()
            && !request.headers().contains_key(&self.header)
        {
            request.headers_mut().insert(self.header.clone(), id.into());
        }
        self.inner.call(request)
    }
}
