use http::{HeaderMap, HeaderName};
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::{Request, Status};
use tower_ops_observe::RequestFacts;

use crate::client::X_REQUEST_ID;
use crate::context::TraceContext;

/// Sends the trace and the request id of the exchange that is being served along with calls.
///
/// An interceptor does not see how a call ends, so there is no span of the client: the callee's is a
/// child of the exchange's. Prefer [`ClientTraceLayer`](crate::ClientTraceLayer) around the
/// channel. Outside of any exchange nothing is sent; metadata that is there is kept, but for the
/// trace's.
///
/// # Examples
///
/// ```
/// use tonic::{Request, service::Interceptor};
/// use tower_ops_trace::TraceInterceptor;
///
/// let call = TraceInterceptor::new().call(Request::new(())).unwrap();
/// assert!(call.metadata().get("traceparent").is_none(), "no exchange is being served");
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
#[derive(Clone, Debug)]
pub struct TraceInterceptor {
    request_id: Option<HeaderName>,
}

impl TraceInterceptor {
    /// Sends the request id in `x-request-id`.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            request_id: Some(X_REQUEST_ID),
        }
    }

    /// Sends the request id in other metadata.
    #[must_use]
    pub fn with_request_id_header(mut self, name: HeaderName) -> Self {
        self.request_id = Some(name);
        self
    }

    /// Sends no request id.
    #[must_use]
    pub fn without_request_id(mut self) -> Self {
        self.request_id = None;
        self
    }

    fn add(&self, headers: &mut HeaderMap) {
        if let Some(context) = TraceContext::current() {
            context.inject(headers);
        }
        let Some(name) = &self.request_id else { return };
        if let Some(id) = RequestFacts::current_request_id()
            && !headers.contains_key(name)
        {
            headers.insert(name.clone(), id);
        }
    }
}

impl Default for TraceInterceptor {
    fn default() -> Self {
        Self::new()
    }
}

impl Interceptor for TraceInterceptor {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let (metadata, extensions, message) = request.into_parts();
        let mut headers = metadata.into_headers();
        self.add(&mut headers);
        Ok(Request::from_parts(
            MetadataMap::from_headers(headers),
            extensions,
            message,
        ))
    }
}
