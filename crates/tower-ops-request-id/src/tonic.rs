use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::id::RequestId;
use crate::layer::RequestIds;

/// Gives every call that comes in an id, in its metadata and extensions.
///
/// An interceptor sees neither the response nor the handler's task: for the
/// response's header, [`RequestId::current`] and the rest, put a
/// [`RequestIdLayer`](crate::RequestIdLayer) into `Server::layer` instead. Behind
/// one, this finds the id that it assigned.
///
/// ```
/// use tonic::{Request, service::Interceptor};
/// use tower_ops_request_id::{RequestId, RequestIdServerInterceptor};
///
/// let mut interceptor = RequestIdServerInterceptor::default();
/// let call = interceptor.call(Request::new(())).unwrap();
/// let id = call.extensions().get::<RequestId>().unwrap();
/// assert_eq!(call.metadata().get("x-request-id").unwrap().as_bytes(), id.as_str().as_bytes());
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
#[derive(Clone, Debug, Default)]
pub struct RequestIdServerInterceptor {
    ids: RequestIds,
}

impl RequestIdServerInterceptor {
    /// An interceptor with a policy, a generator or a header of your own.
    #[must_use]
    pub const fn new(ids: RequestIds) -> Self {
        Self { ids }
    }
}

impl Interceptor for RequestIdServerInterceptor {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let (metadata, extensions, message) = request.into_parts();
        let mut head = http::Request::new(());
        *head.headers_mut() = metadata.into_headers();
        *head.extensions_mut() = extensions;
        let assigned = self.ids.assign(&mut head);
        let (mut parts, ()) = head.into_parts();
        parts.extensions.insert(assigned.id);
        Ok(Request::from_parts(
            MetadataMap::from_headers(parts.headers),
            parts.extensions,
            message,
        ))
    }
}

/// Sends the current request id along with calls that go out.
///
/// A call that already has the metadata keeps it; outside of any request nothing
/// is sent.
///
/// ```
/// use tonic::{Request, service::Interceptor};
/// use tower_ops_request_id::{RequestId, RequestIdClientInterceptor};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let id: RequestId = "order-7".parse().unwrap();
/// id.scope(async {
///     let call = RequestIdClientInterceptor::new().call(Request::new(())).unwrap();
///     assert_eq!(call.metadata().get("x-request-id").unwrap(), "order-7");
/// })
/// .await;
/// # }
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
#[derive(Clone, Debug)]
pub struct RequestIdClientInterceptor {
    header: http::HeaderName,
}

impl RequestIdClientInterceptor {
    /// Sends the id in `x-request-id`.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            header: crate::id::X_REQUEST_ID,
        }
    }

    /// Sends the id in other metadata.
    #[must_use]
    pub fn with_header(mut self, name: http::HeaderName) -> Self {
        self.header = name;
        self
    }
}

impl Default for RequestIdClientInterceptor {
    fn default() -> Self {
        Self::new()
    }
}

impl Interceptor for RequestIdClientInterceptor {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(id) = RequestId::current() else {
            return Ok(request);
        };
        let (metadata, extensions, message) = request.into_parts();
        let mut headers = metadata.into_headers();
        if !headers.contains_key(&self.header) {
            headers.insert(self.header.clone(), id.into());
        }
        Ok(Request::from_parts(
            MetadataMap::from_headers(headers),
            extensions,
            message,
        ))
    }
}
