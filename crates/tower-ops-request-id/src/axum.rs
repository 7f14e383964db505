use std::convert::Infallible;

use axum_core::extract::FromRequestParts;
use http::StatusCode;
use http::request::Parts;

use crate::id::RequestId;

/// Extracts the id that a [`RequestIdLayer`](crate::RequestIdLayer) assigned.
///
/// Without the layer the rejection is a `500` whose text names what is missing.
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        find(parts).ok_or((
            StatusCode::INTERNAL_SERVER_ERROR,
            "no request id: add RequestIdLayer (or ops.layer()) around this route",
        ))
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Sync> axum_core::extract::OptionalFromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(find(parts))
    }
}

/// The current one; or, where the handler runs on another task than the layer, that of the
/// extensions.
fn find(parts: &Parts) -> Option<RequestId> {
    RequestId::current().or_else(|| parts.extensions.get().cloned())
}
