//! The facts of the exchange that is being served right now on this thread.

use std::cell::RefCell;
use std::net::SocketAddr;

use http::HeaderValue;

/// Who sent a request, on which connection, and its ids: the part of [`Facts`](crate::Facts) that
/// handlers and inner layers can read while the request is being served.
///
/// [`current`](Self::current) has them anywhere below an [`ObserveLayer`](crate::ObserveLayer)
/// whose observers set them, until the response's head is there. With the feature `axum` they are
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
    pub(crate) trace_id: Option<u128>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) connection: Option<u64>,
    pub(crate) secure: bool,
    /// Whether these are of an exchange at all.
    pub(crate) are_some: bool,
}

impl RequestFacts {
    /// Returns the facts of the exchange that is being served right now on this thread; `None`
    /// outside of any. They are not those of a task that was spawned from there.
    #[must_use]
    pub fn current() -> Option<Self> {
        let facts = CURRENT.try_with(|slot| {
            let facts = slot.try_borrow().ok()?;
            facts.are_some.then(|| facts.clone())
        });
        facts.ok().flatten()
    }

    pub(crate) fn is_within() -> bool {
        let within = CURRENT.try_with(|slot| slot.try_borrow().is_ok_and(|facts| facts.are_some));
        within.unwrap_or(false)
    }

    /// Returns the request id, as it stands in the headers.
    #[must_use]
    pub const fn request_id(&self) -> Option<&HeaderValue> {
        self.request_id.as_ref()
    }

    /// Returns the W3C trace id.
    #[must_use]
    pub const fn trace_id(&self) -> Option<u128> {
        self.trace_id
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

thread_local! {
    static CURRENT: RefCell<RequestFacts> = const { RefCell::new(NONE) };
}

const NONE: RequestFacts = RequestFacts {
    request_id: None,
    trace_id: None,
    peer: None,
    connection: None,
    secure: false,
    are_some: false,
};

/// Makes the facts the current ones for as long as it lives, and then puts the earlier ones back,
/// also when the step in between unwinds. A swap and not a clone: no reference is counted. The
/// exchange's own copy is not read meanwhile: observers run before and after the step.
pub(crate) struct FactsScope<'a>(&'a mut RequestFacts);

impl<'a> FactsScope<'a> {
    pub(crate) fn enter(facts: &'a mut RequestFacts) -> Self {
        swap(facts);
        Self(facts)
    }
}

impl Drop for FactsScope<'_> {
    fn drop(&mut self) {
        swap(self.0);
    }
}

fn swap(facts: &mut RequestFacts) {
    // An error means that the thread is ending, and with it everything that reads this.
    let _ = CURRENT.try_with(|slot| std::mem::swap(&mut *slot.borrow_mut(), facts));
}

#[cfg(feature = "axum")]
mod axum {
    use std::convert::Infallible;

    use axum::extract::{FromRequestParts, OptionalFromRequestParts};
    use http::StatusCode;
    use http::request::Parts;

    use super::RequestFacts;

    /// Extracts the facts that the layer around the route knows.
    ///
    /// Without a layer it answers `500` and says what is missing.
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    impl<S: Sync> FromRequestParts<S> for RequestFacts {
        type Rejection = (StatusCode, &'static str);

        async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
            Self::current().ok_or((
                StatusCode::INTERNAL_SERVER_ERROR,
                "no facts of the request: add ops.layer() (or an ObserveLayer) around this route",
            ))
        }
    }

    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    impl<S: Sync> OptionalFromRequestParts<S> for RequestFacts {
        type Rejection = Infallible;

        async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
            Ok(Self::current())
        }
    }
}
