//! Whether a request goes to a route that a check affects.

use http::Request;
use tower_ops_observe::original_path;

/// The route of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Route<'a> {
    /// The router's template: `/orders/{id}`.
    #[cfg_attr(not(feature = "axum"), allow(dead_code, reason = "only axum knows it"))]
    Template(&'a str),
    /// The request's path, where there is no template: `/orders/7`.
    Path(&'a str),
}

impl<'a> Route<'a> {
    #[cfg(feature = "axum")]
    pub(super) fn of<B>(request: &'a Request<B>) -> Self {
        let matched = request.extensions().get::<axum::extract::MatchedPath>();
        matched.map_or_else(
            || Self::Path(original_path(request)),
            |path| Self::Template(path.as_str()),
        )
    }

    #[cfg(not(feature = "axum"))]
    pub(super) fn of<B>(request: &'a Request<B>) -> Self {
        Self::Path(original_path(request))
    }

    /// Returns whether a check that names this route affects it: a template, a path, or the
    /// beginning of a path and `*`.
    pub(super) fn is_meant_by(self, named: &str) -> bool {
        let (Self::Template(route) | Self::Path(route)) = self;
        // A wildcard of axum, "/files/{*path}", ends in a brace.
        if let Some(prefix) = named.strip_suffix('*') {
            return route.starts_with(prefix);
        }
        named == route || matches!(self, Self::Path(path) if fits(named, path))
    }
}

/// Returns whether a path fits a template of axum: `{id}` is one segment that is not empty,
/// `{*rest}` at the end is one or more.
fn fits(template: &str, path: &str) -> bool {
    if !template.contains('{') {
        return false;
    }
    let mut segments = path.split('/');
    for part in template.split('/') {
        if part.starts_with("{*") {
            return segments.next().is_some_and(|first| !first.is_empty());
        }
        let Some(segment) = segments.next() else {
            return false;
        };
        let is_parameter = part.starts_with('{') && part.ends_with('}');
        let fits = if is_parameter {
            !segment.is_empty()
        } else {
            part == segment
        };
        if !fits {
            return false;
        }
    }
    segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::Route;

    #[test]
    fn a_path_fits_a_template_and_a_known_route_is_compared_as_it_is() {
        for (named, path, expected) in [
            ("/orders/{id}", "/orders/7", true),
            ("/orders/{id}", "/orders/7/pay", false),
            ("/orders/{id}", "/orders/", false),
            ("/orders/{id}", "/orders", false),
            ("/orders/{id}/pay", "/orders/7/pay", true),
            ("/orders/{id}/pay", "/orders/7/ship", false),
            ("/files/{*path}", "/files/a/b", true),
            ("/files/{*path}", "/files/", false),
            ("/files/*", "/files/a", true),
            ("/pay", "/pay", true),
            ("/pay", "/pays", false),
        ] {
            assert_eq!(
                Route::Path(path).is_meant_by(named),
                expected,
                "{named} {path}"
            );
        }
        // Another route than the one that is named, which its path would fit.
        assert!(!Route::Template("/orders/new").is_meant_by("/orders/{id}"));
        assert!(Route::Template("/orders/{id}").is_meant_by("/orders/{id}"));
    }
}
