use std::convert::Infallible;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::StatusCode;
use http::request::Parts;

use crate::handle::RequestHandle;

/// Extracts the handle of the exchange that is being served.
///
/// Without the layer it answers `500` and says what is missing.
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Sync> FromRequestParts<S> for RequestHandle {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        find(parts).ok_or((
            StatusCode::INTERNAL_SERVER_ERROR,
            "no request tracker: add tracker.layer() (or ops.layer()) around this route",
        ))
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Sync> OptionalFromRequestParts<S> for RequestHandle {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(find(parts))
    }
}

/// The extension is the surer one, where there is one: it came with this very request.
fn find(parts: &Parts) -> Option<RequestHandle> {
    parts
        .extensions
        .get()
        .cloned()
        .or_else(RequestHandle::current)
}
