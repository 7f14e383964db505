use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::fast::FixedState;
use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use crate::current::report;
use crate::facts::Side;
use crate::texts::Texts;

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

    /// A route whose text is kept as long as the process runs, once for all that are equal, if
    /// there is room: then a clone counts no references. All threads would write the count of a
    /// text of the router's.
    pub(crate) fn kept(template: &str) -> Self {
        Self::find_kept(template).unwrap_or_else(|| Self(Template::Shared(template.into())))
    }

    #[inline]
    fn find_kept(template: &str) -> Option<Self> {
        thread_local! {
            /// By the address of the router's text, which is quicker than a hash.
            static RECENT: [Cell<&'static str>; RECENTS] =
                const { [const { Cell::new("") }; RECENTS] };
        }
        let recent = (template.as_ptr().addr() >> 4) % RECENTS;
        let known = RECENT.with(|known| known[recent].get());
        if known == template {
            return Some(Self::from_static(known));
        }
        let kept = Self::look_up_kept(template)?;
        RECENT.with(|known| known[recent].set(kept));
        Some(Self::from_static(kept))
    }

    fn look_up_kept(template: &str) -> Option<&'static str> {
        static KEPT: Texts<Box<str>, FixedState> = Texts::new(MOST_KEPT, FixedState::with_seed(0));
        let kept = KEPT.get(template).or_else(|| {
            let fits = template.len() <= LONGEST_KEPT;
            fits.then(|| KEPT.insert(template, |text| text.into()))
                .flatten()
        });
        kept.map(|kept| &**kept)
    }

    #[cfg(feature = "axum")]
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        let path = request.extensions().get::<axum::extract::MatchedPath>()?;
        let kept = Self::find_kept(path.as_str());
        Some(kept.unwrap_or_else(|| Self(Template::Matched(path.clone()))))
    }

    #[cfg(not(feature = "axum"))]
    pub(crate) fn of<B>(_request: &Request<B>) -> Option<Self> {
        None
    }
}

impl AsRef<str> for Route {
    fn as_ref(&self) -> &str {
        self.as_str()
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

/// How many templates are kept; more are shared with the router, which has them anyway. No client
/// chooses one: they are those of routers, and of gRPC methods that answered.
const MOST_KEPT: usize = 2_048;
/// In bytes.
const LONGEST_KEPT: usize = 512;
const RECENTS: usize = 64;

/// In the extensions of a request whose exchange does not know its route yet.
///
/// Only with it does a hook report. The requests that a handler sends to another
/// router of this process pass hooks too, and must not change the route of the
/// exchange around them; they are new, and have no mark.
#[derive(Clone, Copy)]
struct Unrouted;

/// Whether there is any hook: requests need no mark without.
static HOOKS: AtomicBool = AtomicBool::new(false);

/// What an exchange has to do with hooks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Routing {
    /// Its route is not known by itself.
    pub(crate) listens: bool,
    /// The exchange around it is one of the same request.
    pub(crate) shares: bool,
}

impl Routing {
    /// Hooks change nothing.
    pub(crate) const SETTLED: Self = Self {
        listens: false,
        shares: false,
    };

    pub(crate) fn begin<B>(side: Side, is_known: bool, request: &mut Request<B>) -> Self {
        if !HOOKS.load(Ordering::Relaxed) {
            return Self::SETTLED;
        }
        let extensions = request.extensions_mut();
        // What goes out is another request, though it may have been made of one
        // that came in.
        let shares = side == Side::Server && extensions.get::<Unrouted>().is_some();
        if !shares && !is_known {
            extensions.insert(Unrouted);
        } else if side == Side::Client {
            extensions.remove::<Unrouted>();
        }
        Self {
            listens: !is_known,
            shares,
        }
    }
}

/// Reports to the [`ObserveLayer`](crate::ObserveLayer) further out which route
/// matched.
///
/// Needed where the outer layer cannot see the route: when it stands around an
/// axum `Router` rather than in `Router::layer`, and inside of a service that
/// was mounted with `nest_service`. Costs two look-ups in the request's extensions
/// and a store. With a hook anywhere in the process, an outer layer that does not
/// know the route puts a mark into the request's extensions, which may allocate.
///
/// # Which route counts
///
/// - A route that the outer layer sees itself is final.
/// - Otherwise it is the first `MatchedPath` that a hook sees on the way of the
///   request, or the last name before that.
/// - A request that a handler makes and sends to a router of this process, such as
///   an error page's or a batch's, changes nothing of the exchange around it:
///   before its own routing or after, at once with others, or on another task.
///
/// The hook must run on the task that polls the exchange. Behind a
/// `tower::buffer` it reports to no exchange.
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
    /// A hook that reports axum's `MatchedPath`.
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
        HOOKS.store(true, Ordering::Relaxed);
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if request.extensions().get::<Unrouted>().is_some() {
            if let Some(name) = self.name {
                report(Route::from_static(name));
            } else if let Some(route) = Route::of(&request) {
                request.extensions_mut().remove::<Unrouted>();
                report(route);
            }
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_templates_are_kept_once_and_for_all_threads() {
        let first = Route::kept("/kept/{id}");
        let copies = [
            Route::kept(&String::from("/kept/{id}")),
            std::thread::spawn(|| Route::kept("/kept/{id}"))
                .join()
                .unwrap(),
        ];
        for copy in copies {
            assert!(std::ptr::eq(first.as_str(), copy.as_str()));
        }
        assert_ne!(first, Route::kept("/kept/{other}"));
    }

    #[test]
    fn another_text_at_the_address_of_one_before_is_another_route() {
        let mut text = String::from("/first/{id}");
        for template in ["/first/{id}", "/other/{id}", "/first/{id}"] {
            text.clear();
            text.push_str(template);
            assert_eq!(Route::kept(&text).as_str(), template);
        }
    }

    #[test]
    fn a_template_that_is_too_long_to_be_kept_is_a_route_all_the_same() {
        let long = "/x".repeat(LONGEST_KEPT);
        let route = Route::kept(&long);
        assert_eq!(route.as_str(), long);
        assert!(!std::ptr::eq(route.as_str(), Route::kept(&long).as_str()));
    }
}
