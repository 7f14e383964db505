//! The facts of the exchange that is being served right now on this thread.

use std::cell::Cell;
use std::net::SocketAddr;

use http::HeaderValue;

use crate::route::{Route, Routing};
use crate::trace_ids::TraceIds;

/// Who sent a request, on which connection, and its ids: the part of [`Facts`](crate::Facts) that
/// handlers and inner layers can read while the request is being served.
///
/// [`current`](Self::current) has them anywhere below an [`ObserveLayer`](crate::ObserveLayer)
/// whose observers set them, to the end of the
/// response's body. With the feature `axum` they are
/// an extractor as well. A layer further in begins with them: its observers find them in
/// [`Facts`](crate::Facts), unless they set others.
///
/// # Examples
///
/// ```
/// use tower_ops_observe::RequestFacts;
///
/// async fn handler() -> String {
///     match RequestFacts::current().and_then(|facts| facts.peer()) {
///         Some(peer) => format!("you are {peer}"),
///         None => "who are you?".to_owned(),
///     }
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct RequestFacts {
    pub(crate) request_id: Option<HeaderValue>,
    pub(crate) trace_ids: Option<TraceIds>,
    /// Few have one.
    pub(crate) trace_state: Option<Box<HeaderValue>>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) connection: Option<u64>,
    pub(crate) secure: bool,
    /// Whether these are of an exchange at all.
    pub(crate) are_some: bool,
}

impl RequestFacts {
    const NONE: Self = Self {
        request_id: None,
        trace_ids: None,
        trace_state: None,
        peer: None,
        connection: None,
        secure: false,
        are_some: false,
    };

    /// Returns the facts of the exchange that is being served right now on this thread; `None`
    /// outside of any. They are not those of a task that was spawned from there.
    #[must_use]
    pub fn current() -> Option<Self> {
        with(|current| current.facts.are_some.then(|| current.facts.clone())).flatten()
    }

    /// Calls `read` with what is current on this thread, and copies nothing: the facts of the
    /// exchange that is being served, or what a scope ([`RequestIdScope`],
    /// [`TraceScope`](crate::TraceScope)) sets outside of any.
    ///
    /// Returns `None`, without a call, where nothing is current. Nothing is while `read` runs. If
    /// `read` panics, the facts are current again after that.
    ///
    /// # Examples
    ///
    /// ```
    /// use http::HeaderValue;
    /// use tower_ops_observe::{RequestFacts, RequestIdScope};
    ///
    /// let mut scope = RequestIdScope::new(Some(HeaderValue::from_static("nightly-job")));
    /// let length = |facts: &RequestFacts| facts.request_id().map(HeaderValue::len);
    /// assert_eq!(scope.enter(|| RequestFacts::with_current(length)), Some(Some(11)));
    /// assert_eq!(RequestFacts::with_current(length), None);
    /// ```
    #[inline]
    pub fn with_current<R>(read: impl FnOnce(&Self) -> R) -> Option<R> {
        let result = CURRENT.try_with(|slot| {
            let current = slot.take();
            let taken = PutBack { slot, current };
            taken.current.as_deref().map(|current| read(&current.facts))
        });
        result.ok().flatten()
    }

    /// Returns the request id that is the current one on this thread: that of the exchange that is
    /// being served, or of the [scope](RequestIdScope) that is entered.
    #[must_use]
    pub fn current_request_id() -> Option<HeaderValue> {
        with(|current| current.facts.request_id.clone()).flatten()
    }

    /// Returns the trace ids that are the current ones on this thread: those of the exchange that
    /// is being served, or of the [scope](crate::TraceScope) that is entered. Copies nothing else.
    #[must_use]
    pub fn current_trace_ids() -> Option<TraceIds> {
        with(|current| current.facts.trace_ids).flatten()
    }

    /// Returns the `tracestate` that belongs to [`current_trace_ids`](Self::current_trace_ids).
    #[must_use]
    pub fn current_trace_state() -> Option<HeaderValue> {
        with(|current| current.facts.trace_state.as_deref().cloned()).flatten()
    }

    /// Takes those of the exchange around, if there is one. Returns whether there is.
    pub(crate) fn begin_as_current(&mut self) -> bool {
        let around = with(|current| {
            // A scope without an exchange may have set a request id.
            if current.facts.are_some {
                self.clone_from(&current.facts);
            }
            current.facts.are_some
        });
        around.unwrap_or(false)
    }

    /// Back to [`NONE`].
    pub(crate) fn clear(&mut self) {
        self.request_id = None;
        self.trace_ids = None;
        self.trace_state = None;
        self.peer = None;
        self.connection = None;
        self.secure = false;
        self.are_some = false;
    }

    /// Returns the request id, as it stands in the headers.
    #[must_use]
    pub const fn request_id(&self) -> Option<&HeaderValue> {
        self.request_id.as_ref()
    }

    /// Returns the ids of the exchange's span.
    #[must_use]
    pub const fn trace_ids(&self) -> Option<TraceIds> {
        self.trace_ids
    }

    /// Returns the `tracestate` that goes on to who is called from here.
    #[must_use]
    pub fn trace_state(&self) -> Option<&HeaderValue> {
        self.trace_state.as_deref()
    }

    /// Returns the address of the peer or, behind trusted proxies, of the client.
    #[must_use]
    pub const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Returns the id of the connection.
    #[must_use]
    pub const fn connection(&self) -> Option<u64> {
        self.connection
    }

    /// Returns `https` or `http`.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}

/// What code of the service can find out about the exchange around it, and report to it.
///
/// Boxed, so that the scopes of a poll move a pointer.
#[derive(Debug, Default)]
pub(crate) struct Current {
    pub(crate) facts: RequestFacts,
    /// The route that a hook has reported.
    pub(crate) found: Option<Route>,
}

pub(crate) type CurrentSlot = Option<Box<Current>>;

pub(crate) static NONE: RequestFacts = RequestFacts::NONE;

thread_local! {
    static CURRENT: Cell<CurrentSlot> = const { Cell::new(None) };
}

/// Makes it the current one again, also where the code in between unwinds.
struct PutBack<'a> {
    slot: &'a Cell<CurrentSlot>,
    current: CurrentSlot,
}

impl Drop for PutBack<'_> {
    #[inline]
    fn drop(&mut self) {
        self.slot.set(self.current.take());
    }
}

/// Calls with what is current on this thread. Nothing is while it runs: it must not ask, nor panic.
pub(crate) fn with<R>(act: impl FnOnce(&mut Current) -> R) -> Option<R> {
    // An error means that the thread is ending, and with it everything that reads this.
    let result = CURRENT.try_with(|slot| {
        let mut current = slot.take()?;
        let result = act(&mut current);
        slot.set(Some(current));
        Some(result)
    });
    result.ok().flatten()
}

/// Makes another one the current one, and keeps the one before in its place.
pub(crate) fn swap(current: &mut CurrentSlot) {
    let _ = CURRENT.try_with(|slot| *current = slot.replace(current.take()));
}

/// Reports a route to the exchange that the caller runs in, if there is one.
pub(crate) fn report(route: Route) {
    with(|current| current.found = Some(route));
}

/// What an exchange knows is current for as long as this lives; the one before comes back also when
/// the step in between unwinds. The exchange's own copy is away meanwhile: observers run before and
/// after a step.
pub(crate) struct CurrentScope<'a> {
    current: &'a mut CurrentSlot,
    route: &'a mut Option<Route>,
    routing: Routing,
}

impl<'a> CurrentScope<'a> {
    pub(crate) fn enter(
        current: &'a mut CurrentSlot,
        route: &'a mut Option<Route>,
        routing: Routing,
    ) -> Self {
        swap(current);
        Self {
            current,
            route,
            routing,
        }
    }
}

impl Drop for CurrentScope<'_> {
    fn drop(&mut self) {
        swap(self.current);
        let Some(found) = self.current.as_mut().and_then(|own| own.found.take()) else {
            return;
        };
        if self.routing.shares {
            report(found.clone());
        }
        if self.routing.listens {
            *self.route = Some(found);
        }
    }
}

/// A request id that is the current one while a future of another task is polled.
///
/// Changes the id alone: the other facts stay those of the exchange around it, if there is one.
///
/// # Examples
///
/// ```
/// use http::HeaderValue;
/// use tower_ops_observe::{RequestFacts, RequestIdScope};
///
/// let id = HeaderValue::from_static("nightly-job");
/// let mut scope = RequestIdScope::new(Some(id.clone()));
/// assert_eq!(scope.enter(RequestFacts::current_request_id), Some(id));
/// assert_eq!(RequestFacts::current_request_id(), None);
/// ```
#[derive(Debug)]
pub struct RequestIdScope {
    id: Option<HeaderValue>,
    /// For where no exchange is current. Kept from poll to poll.
    spare: CurrentSlot,
}

impl RequestIdScope {
    /// A scope in which that id is the current one, or none is.
    #[must_use]
    pub const fn new(id: Option<HeaderValue>) -> Self {
        Self { id, spare: None }
    }

    /// The id.
    #[must_use]
    pub const fn id(&self) -> Option<&HeaderValue> {
        self.id.as_ref()
    }

    /// Calls with the id as the current one. Allocates at the first call outside of an exchange.
    pub fn enter<R>(&mut self, step: impl FnOnce() -> R) -> R {
        let is_alone = with(|_| ()).is_none();
        if is_alone {
            self.spare.get_or_insert_default();
            swap(&mut self.spare);
        }
        with(|current| std::mem::swap(&mut current.facts.request_id, &mut self.id));
        let _restore = Restore {
            scope: self,
            is_alone,
        };
        step()
    }
}

struct Restore<'a> {
    scope: &'a mut RequestIdScope,
    is_alone: bool,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        with(|current| std::mem::swap(&mut current.facts.request_id, &mut self.scope.id));
        if self.is_alone {
            swap(&mut self.scope.spare);
        }
    }
}

#[cfg(feature = "axum")]
pub(crate) mod axum {
    use std::convert::Infallible;
    use std::error::Error;
    use std::fmt;

    use axum::extract::{FromRequestParts, OptionalFromRequestParts};
    use axum::response::{IntoResponse, Response};
    use http::StatusCode;
    use http::request::Parts;

    use super::RequestFacts;

    /// Extracts the facts that the layer around the route knows.
    ///
    /// Without a layer the rejection is [`MissingRequestFacts`].
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    impl<S: Sync> FromRequestParts<S> for RequestFacts {
        type Rejection = MissingRequestFacts;

        async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, MissingRequestFacts> {
            Self::current().ok_or(MissingRequestFacts(()))
        }
    }

    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    impl<S: Sync> OptionalFromRequestParts<S> for RequestFacts {
        type Rejection = Infallible;

        async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
            Ok(Self::current())
        }
    }

    /// Rejects a request to a handler that extracts [`RequestFacts`] outside of a layer.
    ///
    /// Answers `500` with its text. The text names the missing layer.
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MissingRequestFacts(());

    impl fmt::Display for MissingRequestFacts {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(
                "no facts of the request: add ops.layer() (or an ObserveLayer) around this route",
            )
        }
    }

    impl Error for MissingRequestFacts {}

    impl IntoResponse for MissingRequestFacts {
        fn into_response(self) -> Response {
            (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
        }
    }
}
