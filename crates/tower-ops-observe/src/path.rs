use http::Request;

/// Returns the path that the client asked for, whole also where axum's `nest` has
/// cut the prefix off.
///
/// Knows it from axum's `OriginalUri`, with the feature `axum`. Costs a look-up in
/// the request's extensions. The path is the client's text: show it, but do not make
/// it a label.
///
/// ```
/// use http::Request;
/// use tower_ops_observe::original_path;
///
/// let request = Request::get("/users/7?name=a").body(())?;
/// assert_eq!(original_path(&request), "/users/7");
/// # Ok::<_, http::Error>(())
/// ```
#[must_use]
pub fn original_path<B>(request: &Request<B>) -> &str {
    #[cfg(feature = "axum")]
    if let Some(axum::extract::OriginalUri(uri)) = request.extensions().get() {
        return uri.path();
    }
    request.uri().path()
}
