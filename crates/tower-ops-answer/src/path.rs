use http::Uri;

/// Returns the path without the slash at its end, if it has one: `/ready/` is `/ready`.
#[must_use]
pub fn path(uri: &Uri) -> &str {
    match uri.path() {
        "/" => "/",
        path => path.strip_suffix('/').unwrap_or(path),
    }
}
