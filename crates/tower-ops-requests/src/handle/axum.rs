use std::convert::Infallible;
use std::error::Error;
use std::fmt;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::handle::RequestHandle;

/// Extracts the handle of the exchange that is being served.
///
/// Without the layer the rejection is [`MissingRequestTracker`].
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Sync> FromRequestParts<S> for RequestHandle {
    type Rejection = MissingRequestTracker;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingRequestTracker> {
        find(parts).ok_or(MissingRequestTracker(()))
    }
}

/// Extracts the handle, or `None` without the layer.
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Sync> OptionalFromRequestParts<S> for RequestHandle {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(find(parts))
    }
}

/// The extension goes first, where there is one: it came with this very request.
fn find(parts: &Parts) -> Option<RequestHandle> {
    parts
        .extensions
        .get()
        .cloned()
        .or_else(RequestHandle::current)
}

/// Rejects a request to a handler that extracts [`RequestHandle`] outside of the tracker's layer.
///
/// Answers `500` with its text. The text names the missing layer.
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingRequestTracker(());

impl fmt::Display for MissingRequestTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no request tracker: add tracker.layer() (or ops.layer()) around this route")
    }
}

impl Error for MissingRequestTracker {}

impl IntoResponse for MissingRequestTracker {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}
