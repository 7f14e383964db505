//! OPTIONS, for services that do not answer it.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::Empty;

use crate::body::{AdminBody, AdminRequestBody};

/// The same request as GET, without its body.
pub(crate) fn as_get<B>(request: &Request<B>) -> Request<AdminRequestBody> {
    let mut get = Request::new(AdminRequestBody::default());
    *get.method_mut() = Method::GET;
    *get.uri_mut() = request.uri().clone();
    *get.version_mut() = request.version();
    *get.headers_mut() = request.headers().clone();
    *get.extensions_mut() = request.extensions().clone();
    get.headers_mut().remove(CONTENT_LENGTH);
    get.headers_mut().remove(TRANSFER_ENCODING);
    get
}

/// Leaves the status, and says which methods there are.
pub(crate) fn answer(response: Response<AdminBody>) -> Response<AdminBody> {
    let (mut parts, _) = response.into_parts();
    let headers = &mut parts.headers;
    headers.remove(CONTENT_TYPE);
    headers.remove(CONTENT_ENCODING);
    headers.remove(TRANSFER_ENCODING);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
    if !headers.contains_key(ALLOW) {
        headers.insert(ALLOW, tower_ops_core::http::allow(&["GET", "HEAD"]));
    }
    Response::from_parts(parts, AdminBody::new(Empty::<Bytes>::new()))
}
