//! The body of a request: how much of it came, and how it ended.

#[cfg(any(feature = "axum", feature = "tonic"))]
mod body;
#[cfg_attr(
    not(any(feature = "axum", feature = "tonic")),
    expect(dead_code, reason = "nothing else can be watched")
)]
mod progress;

pub(crate) use self::progress::RequestProgress;

use std::sync::Arc;

use http::Request;

/// Watches the body of a request, if it has one and its type is one that can be
/// wrapped in itself: the layer must not change the type.
///
/// Costs two allocations, the wrapper and the progress.
#[cfg(any(feature = "axum", feature = "tonic"))]
pub(crate) fn watch<B: 'static>(request: &mut Request<B>) -> Option<Arc<RequestProgress>> {
    let body = request.body_mut() as &mut dyn std::any::Any;
    #[cfg(feature = "axum")]
    if let Some(body) = body.downcast_mut::<axum::body::Body>() {
        return body::watch(body, axum::body::Body::new);
    }
    #[cfg(feature = "tonic")]
    if let Some(body) = body.downcast_mut::<tonic::body::Body>() {
        return body::watch(body, tonic::body::Body::new);
    }
    None
}

#[cfg(not(any(feature = "axum", feature = "tonic")))]
pub(crate) fn watch<B: 'static>(_: &mut Request<B>) -> Option<Arc<RequestProgress>> {
    None
}
