use std::convert::Infallible;
use std::error::Error;
use std::fmt;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::id::RequestId;

/// Extracts the id that a [`RequestIdLayer`](crate::RequestIdLayer) assigned.
///
/// Without the layer the rejection is [`MissingRequestId`].
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = MissingRequestId;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingRequestId> {
        find(parts).ok_or(MissingRequestId(()))
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Sync> OptionalFromRequestParts<S> for RequestId {
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

/// Rejects a request to a handler that extracts [`RequestId`] outside of the layer.
///
/// Answers `500` with its text. The text names the missing layer.
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingRequestId(());

impl fmt::Display for MissingRequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no request id: add RequestIdLayer (or ops.layer()) around this route")
    }
}

impl Error for MissingRequestId {}

impl IntoResponse for MissingRequestId {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}
