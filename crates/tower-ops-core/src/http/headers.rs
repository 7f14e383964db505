//! What every answer carries, and which methods only read.

use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method};

/// Returns whether the method asks for nothing to happen: GET, HEAD and OPTIONS.
///
/// OPTIONS is answered as GET would be, without a body and with `Allow`: what balancers check
/// with (HAProxy's default is `OPTIONS / HTTP/1.0`).
#[must_use]
pub const fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Returns whether an answer to this method has a body: not to HEAD, and not to OPTIONS.
#[must_use]
pub const fn has_body(method: &Method) -> bool {
    !matches!(*method, Method::HEAD | Method::OPTIONS)
}

/// Adds what every answer carries: `x-content-type-options: nosniff`, so that a browser does not
/// take what a client put into its path for a page, and `cache-control: no-store`, unless the
/// answer has that header.
pub fn secure(headers: &mut HeaderMap) {
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    let no_store = HeaderValue::from_static("no-store");
    headers.entry(CACHE_CONTROL).or_insert(no_store);
}

/// Returns the value of `Allow` for these methods, with OPTIONS, which every path has.
#[must_use]
pub fn allow(methods: &[&str]) -> HeaderValue {
    let methods = methods.iter().filter(|method| **method != "OPTIONS");
    let mut text: String = methods.flat_map(|method| [*method, ", "]).collect();
    text.push_str("OPTIONS");
    // The names of methods are visible ASCII.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("OPTIONS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_is_always_allowed_and_named_once() {
        assert_eq!(allow(&["GET", "HEAD"]), "GET, HEAD, OPTIONS");
        assert_eq!(allow(&["OPTIONS", "GET"]), "GET, OPTIONS");
        assert_eq!(allow(&[]), "OPTIONS");
    }

    #[test]
    fn another_cache_control_stays() {
        let mut headers = HeaderMap::new();
        secure(&mut headers);
        assert_eq!(headers[CACHE_CONTROL], "no-store");
        headers.insert(
            CACHE_CONTROL,
            HeaderValue::from_static("no-cache, no-store"),
        );
        secure(&mut headers);
        assert_eq!(headers[CACHE_CONTROL], "no-cache, no-store");
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}
