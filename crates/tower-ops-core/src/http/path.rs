use http::Uri;

/// Returns the path without the slash at its end, if it has one: `/ready/` is `/ready`.
#[must_use]
pub fn path(uri: &Uri) -> &str {
    match uri.path() {
        "/" | "" => "/",
        path => match path.strip_suffix('/') {
            Some(shorter) if !shorter.is_empty() && !shorter.ends_with('/') => shorter,
            _ => path,
        },
    }
}
