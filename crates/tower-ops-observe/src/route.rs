use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;
use tower_service::Service;

use http::Request;

/// The template of the route that matched, such as `/users/{id}`, or a gRPC
/// method, such as `helloworld.Greeter/SayHello`. Never a raw path.
///
/// Cheap to clone.
#[derive(Clone)]
pub struct Route(Template);

#[derive(Clone)]
enum Template {
    Static(&'static str),
    Shared(Arc<str>),
    #[cfg(feature = "axum")]
    Matched(axum::extract::MatchedPath),
}

impl Route {
    /// The route of a request that no route matched.
    pub const UNMATCHED: Self = Self(Template::Static("{unmatched}"));
    /// The route of a call to a gRPC method that no server registered.
    pub const OTHER: Self = Self(Template::Static("_OTHER"));

    /// A route by its template. Do not pass anything that a client sent.
    #[must_use]
    pub const fn from_static(template: &'static str) -> Self {
        Self(Template::Static(template))
    }

    /// The template.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Template::Static(template) => template,
            Template::Shared(template) => template,
            #[cfg(feature = "axum")]
            Template::Matched(path) => path.as_str(),
        }
    }

    #[cfg(feature = "axum")]
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        request
            .extensions()
            .get::<axum::extract::MatchedPath>()
            .map(|path| Self(Template::Matched(path.clone())))
    }

    #[cfg(not(feature = "axum"))]
    pub(crate) fn of<B>(_request: &Request<B>) -> Option<Self> {
        None
    }
}

impl From<Arc<str>> for Route {
    fn from(template: Arc<str>) -> Self {
        Self(Template::Shared(template))
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Route {}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

thread_local! {
    // A thread-local and not a request extension: it costs no allocation, and a
    // hook always runs inside of a poll, or of the call, of the exchange around it.
    static FOUND: Cell<Option<Route>> = const { Cell::new(None) };
}

/// Collects, while it lives, the route that a [`RouteHook`] finds further in.
pub(crate) struct RouteScope<'a> {
    around: Option<Route>,
    found: &'a mut Option<Route>,
    // An outgoing exchange must not tell the exchange around it its own route.
    passes_on: bool,
}

impl<'a> RouteScope<'a> {
    pub(crate) fn enter(found: &'a mut Option<Route>, passes_on: bool) -> Self {
        Self {
            around: take(),
            found,
            passes_on,
        }
    }
}

impl Drop for RouteScope<'_> {
    fn drop(&mut self) {
        let found = take();
        if found.is_none() && self.around.is_none() {
            return;
        }
        let around = match &found {
            Some(route) if self.passes_on => Some(route.clone()),
            _ => self.around.take(),
        };
        tell(around);
        if found.is_some() {
            *self.found = found;
        }
    }
}

fn take() -> Option<Route> {
    // An error means that the thread is ending, and with it whoever asks.
    FOUND.try_with(Cell::take).ok().flatten()
}

fn tell(route: Option<Route>) {
    let _ = FOUND.try_with(|slot| slot.set(route));
}

/// Tells the [`ObserveLayer`](crate::ObserveLayer) further out which route
/// matched.
///
/// Needed where the outer layer cannot see the route: when it stands around an
/// axum `Router` rather than in `Router::layer`, and inside of a service that
/// was mounted with `nest_service`. Costs one look-up in the request's
/// extensions and a store; no allocation.
///
/// The hook must run on the task that polls the exchange; behind a
/// `tower::buffer` it is not heard.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use tower_ops_observe::RouteHook;
///
/// let users = Router::new()
///     .route("/users/{id}", get(|| async { "a user" }))
///     .layer(RouteHook::new());
/// let app: Router = Router::new().nest_service("/service", users);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RouteHook {
    name: Option<&'static str>,
}

impl RouteHook {
    /// A hook that passes on axum's `MatchedPath`.
    #[cfg(feature = "axum")]
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "a hook is either matched or named"
    )]
    pub const fn new() -> Self {
        Self { name: None }
    }

    /// A hook that gives all requests that pass it one route, for a service
    /// without routes of its own: `RouteHook::named("/static/{*path}")`.
    #[must_use]
    pub const fn named(template: &'static str) -> Self {
        Self {
            name: Some(template),
        }
    }
}

impl<S> Layer<S> for RouteHook {
    type Service = RouteHookService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RouteHookService {
            inner,
            name: self.name,
        }
    }
}

/// The service that a [`RouteHook`] makes.
#[derive(Clone, Debug)]
pub struct RouteHookService<S> {
    inner: S,
    name: Option<&'static str>,
}

impl<S, B> Service<Request<B>> for RouteHookService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let route = self
            .name
            .map(Route::from_static)
            .or_else(|| Route::of(&request));
        if route.is_some() {
            tell(route);
        }
        self.inner.call(request)
    }
}
