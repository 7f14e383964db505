use std::hash::RandomState;

use crate::route::Route;
use crate::texts::Texts;

/// The gRPC methods that this service is known to have.
///
/// A method becomes known when it is named up front, or when it first answers
/// with what only a method answers: a stream, success, or a code that no guard in
/// front of it gives. A client can ask for any path, but cannot make that happen.
/// The set is bounded all the same, for a proxy that forwards every path.
pub(crate) struct GrpcMethods(Texts<Route, RandomState>);

/// At most this many methods have a name of their own; more are `_OTHER`.
const MAX_METHODS: usize = 1_024;
/// A longer path is no method that anybody registered.
const MAX_METHOD_LEN: usize = 256;

impl GrpcMethods {
    pub(crate) fn new() -> Self {
        Self(Texts::new(MAX_METHODS, RandomState::new()))
    }

    pub(crate) fn get(&self, method: &str) -> Option<Route> {
        self.0.get(method).cloned()
    }

    /// Adds a method and returns it; `None` when the set is full.
    pub(crate) fn learn(&self, method: &str) -> Option<Route> {
        self.0.insert(method, Route::kept).cloned()
    }
}

/// `package.Service/Method` of a request path, if it has that shape.
pub(crate) fn method_of(path: &str) -> Option<&str> {
    let method = path.strip_prefix('/')?;
    let (service, name) = method.split_once('/')?;
    let fits = !service.is_empty()
        && !name.is_empty()
        && !name.contains('/')
        && method.len() <= MAX_METHOD_LEN;
    fits.then_some(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_paths() {
        assert_eq!(method_of("/a.B/C"), Some("a.B/C"));
        for path in ["/", "//", "/a", "/a/", "//b", "/a/b/c", "a/b", ""] {
            assert_eq!(method_of(path), None, "{path}");
        }
        assert_eq!(method_of(&format!("/a/{}", "x".repeat(300))), None);
    }
}
